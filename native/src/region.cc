#include "region.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

namespace twinbeat {

std::shared_ptr<Region> Region::Create(size_t slotBytes, size_t peekCount, size_t peekBytes,
                                       int* error) {
  std::shared_ptr<Region> region(new Region());
  size_t bytes = slotBytes + 2 * peekCount * peekBytes;
  void* map = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (map == MAP_FAILED) {
    *error = -errno;
    return nullptr;
  }
  region->base_ = static_cast<uint8_t*>(map);
  region->bytes_ = bytes;
  region->slotBytes_ = slotBytes;
  // Fewer entries in the TLB and in the list of pinned pages. Only advice: errors do not matter.
  madvise(map, slotBytes, MADV_HUGEPAGE);

  if (peekCount > 0) {
    int fd = memfd_create("twinbeat-peek", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, static_cast<off_t>(peekCount * peekBytes)) < 0) {
      *error = -errno;
      if (fd >= 0) close(fd);
      return nullptr;
    }
    for (size_t i = 0; i < 2 * peekCount; i++) {
      uint8_t* at = region->base_ + slotBytes + i * peekBytes;
      off_t from = static_cast<off_t>(i / 2 * peekBytes);
      if (mmap(at, peekBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, from) ==
          MAP_FAILED) {
        *error = -errno;
        close(fd);
        return nullptr;
      }
    }
    close(fd);
  }

  // Every page is touched, whether it can be locked or not: a page that is not there when SIGKILL comes turns a FUSE
  // request into EIO.
  if (mlock(map, bytes) < 0) region->lockError_ = -errno;
  long page = sysconf(_SC_PAGESIZE);
  for (size_t i = 0; i < bytes; i += static_cast<size_t>(page)) {
    static_cast<volatile uint8_t*>(region->base_)[i] = 0;
  }
  // Children (handlers, scripts) do not get a copy of the page tables, nor copy-on-write of pinned pages.
  madvise(map, bytes, MADV_DONTFORK);
  return region;
}

Region::~Region() {
  if (base_ != nullptr) munmap(base_, bytes_);
}

}  // namespace twinbeat
