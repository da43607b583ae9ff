// The memory of the buffer pool: one mapping, resident from the start and locked if the system allows it.
//
//     [ slots: buffers of src/host/buffer-pool.ts ][ peek 0 ][ peek 0 again ][ peek 1 ][ peek 1 again ] ...
//
// Each peek region is mapped twice in a row, so that the bytes of a ring are contiguous wherever they begin and
// nothing has to be moved when a header crosses its end.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>

namespace twinbeat {

class Region {
 public:
  // nullptr and -errno in `error` when the memory cannot be had. Sizes are multiples of the page size.
  static std::shared_ptr<Region> Create(size_t slotBytes, size_t peekCount, size_t peekBytes,
                                        int* error);
  ~Region();
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  uint8_t* base() const { return base_; }
  size_t bytes() const { return bytes_; }
  size_t slotBytes() const { return slotBytes_; }
  // 0, or -errno of mlock: the memory is resident, but may be swapped out.
  int lockError() const { return lockError_; }
  bool Holds(int64_t at, int64_t length) const {
    return at >= 0 && length >= 0 && at + length <= static_cast<int64_t>(bytes_);
  }

 private:
  Region() = default;
  uint8_t* base_ = nullptr;
  size_t bytes_ = 0;
  size_t slotBytes_ = 0;
  int lockError_ = 0;
};

}  // namespace twinbeat
