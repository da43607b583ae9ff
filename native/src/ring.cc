#include "ring.h"

#include <errno.h>
#include <linux/time_types.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <vector>

namespace twinbeat {
namespace {

// The completion queue holds what a burst of 1 MiB requests over all devices can complete at one time; beyond it the
// kernel keeps completions itself (IORING_FEAT_NODROP).
constexpr unsigned kCompletionEntries = 4096;

unsigned Load(const unsigned* p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
void Store(unsigned* p, unsigned value) { __atomic_store_n(p, value, __ATOMIC_RELEASE); }

template <typename T>
T* At(void* base, unsigned offset) {
  return reinterpret_cast<T*>(static_cast<char*>(base) + offset);
}

}  // namespace

Ring::~Ring() { Close(); }

void Ring::Close() {
  if (fd_ < 0) return;
  if (sqes_ != nullptr) munmap(sqes_, sqesBytes_);
  if (map_ != nullptr) munmap(map_, mapBytes_);
  sqes_ = nullptr;
  map_ = nullptr;
  close(fd_);
  fd_ = -1;
}

int Ring::Setup(unsigned entries, const char** why) {
  // COOP_TASKRUN (5.19): completion work waits for this thread's next system call instead of interrupting it.
  // SINGLE_ISSUER (6.0): only this thread submits. Older kernels refuse the flags with EINVAL and go without.
  const unsigned base = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
  const unsigned wanted[] = {
      base | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
          IORING_SETUP_SINGLE_ISSUER,
      base | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
      base,
  };
  io_uring_params params;
  *why = "io_uring_setup";
  for (unsigned flags : wanted) {
    memset(&params, 0, sizeof params);
    params.flags = flags;
    params.cq_entries = kCompletionEntries;
    fd_ = static_cast<int>(syscall(__NR_io_uring_setup, entries, &params));
    if (fd_ >= 0 || errno != EINVAL) break;
  }
  if (fd_ < 0) return -errno;
  constexpr unsigned kNeeded = IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP |
                               IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_FAST_POLL |
                               IORING_FEAT_EXT_ARG;
  if ((params.features & kNeeded) != kNeeded) {
    *why = "io_uring of this kernel is too old (5.11 is needed)";
    Close();
    return -ENOSYS;
  }

  size_t sqBytes = params.sq_off.array + params.sq_entries * sizeof(unsigned);
  size_t cqBytes = params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe);
  mapBytes_ = sqBytes > cqBytes ? sqBytes : cqBytes;
  *why = "mmap of the ring";
  void* map = mmap(nullptr, mapBytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd_,
                   IORING_OFF_SQ_RING);
  if (map == MAP_FAILED) {
    int error = errno;
    Close();
    return -error;
  }
  map_ = map;
  sqesBytes_ = params.sq_entries * sizeof(io_uring_sqe);
  void* sqes = mmap(nullptr, sqesBytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd_,
                    IORING_OFF_SQES);
  if (sqes == MAP_FAILED) {
    int error = errno;
    Close();
    return -error;
  }
  sqes_ = static_cast<io_uring_sqe*>(sqes);
  sqHead_ = At<unsigned>(map, params.sq_off.head);
  sqTail_ = At<unsigned>(map, params.sq_off.tail);
  sqFlags_ = At<unsigned>(map, params.sq_off.flags);
  cqHead_ = At<unsigned>(map, params.cq_off.head);
  cqTail_ = At<unsigned>(map, params.cq_off.tail);
  cqFlags_ = At<unsigned>(map, params.cq_off.flags);
  cqes_ = At<io_uring_cqe>(map, params.cq_off.cqes);
  sqEntries_ = params.sq_entries;
  sqMask_ = params.sq_entries - 1;
  cqMask_ = params.cq_entries - 1;
  unsigned* array = At<unsigned>(map, params.sq_off.array);
  for (unsigned i = 0; i < sqEntries_; i++) array[i] = i;
  tail_ = submitted_ = Load(sqTail_);
  return 0;
}

int Ring::RegisterEventFd(int fd) {
  long r = syscall(__NR_io_uring_register, fd_, IORING_REGISTER_EVENTFD, &fd, 1);
  return r < 0 ? -errno : 0;
}

int Ring::RegisterBuffer(void* base, size_t length) {
  iovec iov{base, length};
  long r = syscall(__NR_io_uring_register, fd_, IORING_REGISTER_BUFFERS, &iov, 1);
  return r < 0 ? -errno : 0;
}

int Ring::CheckOperations(const char** why) {
  constexpr unsigned kOps = 256;
  std::vector<char> memory(sizeof(io_uring_probe) + kOps * sizeof(io_uring_probe_op));
  auto* probe = reinterpret_cast<io_uring_probe*>(memory.data());
  *why = "IORING_REGISTER_PROBE";
  if (syscall(__NR_io_uring_register, fd_, IORING_REGISTER_PROBE, probe, kOps) < 0) return -errno;
  const unsigned needed[] = {IORING_OP_READ,     IORING_OP_WRITE,        IORING_OP_READ_FIXED,
                             IORING_OP_FSYNC,    IORING_OP_WRITE_FIXED,  IORING_OP_FALLOCATE,
                             IORING_OP_RECV,     IORING_OP_RECVMSG,      IORING_OP_ACCEPT,
                             IORING_OP_CONNECT,  IORING_OP_LINK_TIMEOUT, IORING_OP_TIMEOUT,
                             IORING_OP_POLL_ADD, IORING_OP_ASYNC_CANCEL, IORING_OP_OPENAT};
  for (unsigned op : needed) {
    if (op > probe->last_op || !(probe->ops[op].flags & IO_URING_OP_SUPPORTED)) {
      *why = "an operation of io_uring is missing";
      return -ENOSYS;
    }
  }
  return 0;
}

unsigned Ring::Space() const { return sqEntries_ - (tail_ - Load(sqHead_)); }

io_uring_sqe* Ring::Next() {
  io_uring_sqe* sqe = &sqes_[tail_ & sqMask_];
  memset(sqe, 0, sizeof *sqe);
  tail_++;
  return sqe;
}

int Ring::Enter(unsigned submit, unsigned wait, unsigned flags, void* arg, size_t argSize) {
  long r = syscall(__NR_io_uring_enter, fd_, submit, wait, flags, arg, argSize);
  return r < 0 ? -errno : static_cast<int>(r);
}

int Ring::Submit() {
  Store(sqTail_, tail_);
  while (submitted_ != tail_) {
    int r = Enter(tail_ - submitted_, 0, 0, nullptr, 0);
    if (r == -EINTR) continue;
    if (r < 0) return r;
    submitted_ += static_cast<unsigned>(r);
    if (r == 0) return -EAGAIN;
  }
  return 0;
}

int Ring::Wait(int timeoutMs) {
  __kernel_timespec ts{timeoutMs / 1000, (timeoutMs % 1000) * 1000000LL};
  io_uring_getevents_arg arg{};
  arg.ts = reinterpret_cast<uint64_t>(&ts);
  int r = Enter(0, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &arg, sizeof arg);
  return r < 0 ? r : 0;
}

void Ring::RunPending() {
  unsigned flags = __atomic_load_n(sqFlags_, __ATOMIC_RELAXED);
  if (flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) {
    Enter(0, 0, IORING_ENTER_GETEVENTS, nullptr, 0);
  }
}

bool Ring::Take(io_uring_cqe* out) {
  unsigned head = *cqHead_;
  if (head == Load(cqTail_)) return false;
  *out = cqes_[head & cqMask_];
  Store(cqHead_, head + 1);
  return true;
}

bool Ring::Empty() const { return *cqHead_ == Load(cqTail_); }

void Ring::SetQuiet(bool quiet) {
  __atomic_store_n(cqFlags_, quiet ? IORING_CQ_EVENTFD_DISABLED : 0u, __ATOMIC_SEQ_CST);
  // The caller looks at the queue after this: a completion that saw the old flag is then not missed.
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

}  // namespace twinbeat
