// One io_uring by raw system calls (no liburing): setup, the two queues, enter, register.
#pragma once
#include <linux/io_uring.h>

#include <cstddef>
#include <cstdint>

namespace twinbeat {

class Ring {
 public:
  Ring() = default;
  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  // 0 or -errno; `why` then names the step that failed.
  int Setup(unsigned entries, const char** why);
  // An eventfd that is written at each completion while events are not quiet. 0 or -errno.
  int RegisterEventFd(int fd);
  int RegisterBuffer(void* base, size_t length);
  // Whether the kernel knows all operations that the engine uses.
  int CheckOperations(const char** why);

  // Free entries of the submission queue.
  unsigned Space() const;
  // The next entry, zeroed. There must be space.
  io_uring_sqe* Next();
  unsigned Unsubmitted() const { return tail_ - submitted_; }
  // Hands all entries to the kernel. 0, or -EBUSY/-EAGAIN: completions must be taken first.
  int Submit();
  // Waits up to `timeoutMs` for one completion. 0 or -errno (-ETIME).
  int Wait(int timeoutMs);
  // Runs completion work that the kernel holds back for this thread, if there is any.
  void RunPending();

  // Takes one completion. False when there is none.
  bool Take(io_uring_cqe* out);
  bool Empty() const;
  // While quiet the eventfd is not written.
  void SetQuiet(bool quiet);
  void Close();

 private:
  int Enter(unsigned submit, unsigned wait, unsigned flags, void* arg, size_t argSize);

  int fd_ = -1;
  void* map_ = nullptr;
  size_t mapBytes_ = 0;
  io_uring_sqe* sqes_ = nullptr;
  size_t sqesBytes_ = 0;
  unsigned* sqHead_ = nullptr;
  unsigned* sqTail_ = nullptr;
  unsigned* sqFlags_ = nullptr;
  unsigned* cqHead_ = nullptr;
  unsigned* cqTail_ = nullptr;
  unsigned* cqFlags_ = nullptr;
  io_uring_cqe* cqes_ = nullptr;
  unsigned sqMask_ = 0;
  unsigned sqEntries_ = 0;
  unsigned cqMask_ = 0;
  unsigned tail_ = 0;       // entries prepared
  unsigned submitted_ = 0;  // entries the kernel has taken
};

}  // namespace twinbeat
