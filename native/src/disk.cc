// Disks: O_DIRECT files and block devices through the ring.
//
// - A short transfer is continued; one that ends (end of the device, of the file) is -EIO, never a short result.
// - Discard is FALLOC_FL_PUNCH_HOLE: the range reads as zeroes afterwards. A block device without write-zeroes refuses
//   that and gets BLKDISCARD, after which its contents are undefined.
// - Zeroes: punch (if it may unmap), else FALLOC_FL_ZERO_RANGE, else written.
// - A disk that does not answer can be abandoned: all its operations fail at once, their memory is named again when the
//   kernel is done with it, and until then the descriptor stays open (a block device stays claimed).
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>

#include "engine.h"

namespace twinbeat {
namespace {

constexpr uint32_t kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
constexpr uint32_t kZeroRange = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;

// A number of the queue of a block device (or of the device that a partition is on); -1 when it cannot be read.
double QueueNumber(dev_t dev, const char* name) {
  for (const char* up : {"", "../"}) {
    char path[128];
    snprintf(path, sizeof path, "/sys/dev/block/%u:%u/%squeue/%s", major(dev), minor(dev), up,
             name);
    FILE* file = fopen(path, "re");
    if (file == nullptr) continue;
    double value = -1;
    if (fscanf(file, "%lf", &value) != 1) value = -1;
    fclose(file);
    return value;
  }
  return -1;
}

// The memory that an operation moves, or -1.
int32_t MemoryOf(const Op& op) {
  return op.kind == OpKind::kRead || op.kind == OpKind::kWrite ? op.at : -1;
}

bool Unsupported(int result) { return result == -EOPNOTSUPP || result == -ENOSYS; }

}  // namespace

void Engine::OpenDisk(const std::string& path, bool write, bool exclusive, uint32_t tag) {
  uint32_t index = NewOp(OpKind::kOpen);
  Op& op = ops_[index];
  op.tag = tag;
  op.path = path;
  op.direct = true;
  op.flags = (write ? O_RDWR : O_RDONLY) | O_CLOEXEC | (exclusive ? O_EXCL : 0);
  StartOpen(index);
}

void Engine::StartOpen(uint32_t index) {
  Op& op = ops_[index];
  io_uring_sqe* sqe = Entry();
  sqe->opcode = IORING_OP_OPENAT;
  sqe->fd = AT_FDCWD;
  sqe->addr = reinterpret_cast<uint64_t>(op.path.c_str());
  // Through the page cache only what is durable counts as written: a file system without O_DIRECT is a rare thing.
  sqe->open_flags = static_cast<uint32_t>(op.flags | (op.direct ? O_DIRECT : O_DSYNC));
  sqe->user_data = index;
}

void Engine::OpenDone(uint32_t index, int result) {
  Op& op = ops_[index];
  if (result == -EINVAL && op.direct && !stopped_) {
    op.direct = false;
    return StartOpen(index);
  }
  if (result >= 0) result = FinishOpen(op, result);
  DoneWithHandle(op.tag, result);
  FreeOp(index);
}

int Engine::FinishOpen(const Op& op, int fd) {
  struct stat st;
  int error = fstat(fd, &st) < 0 ? errno : 0;
  if (error == 0 && !S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) error = EINVAL;
  Handle* h = error == 0 ? NewHandle(HandleKind::kDisk, fd) : nullptr;
  if (h == nullptr) {
    close(fd);
    return error == 0 ? -EMFILE : -error;
  }
  h->blockDevice = S_ISBLK(st.st_mode);
  h->writable = (op.flags & O_RDWR) != 0;
  // A hole behind the end of a file changes nothing, and tells whether the file system has holes.
  h->canPunch = !h->blockDevice && h->writable &&
                fallocate(fd, static_cast<int>(kPunch), (st.st_size + 4095) & ~4095ll, 4096) == 0;
  return h->id;
}

bool Engine::IsDirect(int32_t handle) {
  Handle* h = Find(handle, HandleKind::kDisk);
  return h != nullptr && (fcntl(h->fd, F_GETFL) & O_DIRECT) != 0;
}

int Engine::GetDiskFacts(int32_t handle, DiskFacts* out) {
  Handle* h = Find(handle, HandleKind::kDisk);
  if (h == nullptr) return -EBADF;
  struct stat st;
  if (fstat(h->fd, &st) < 0) return -errno;
  if (!h->blockDevice) {
    // O_DIRECT wants the block of the disk below; 512 where that is not known (no disk of its own).
    double block = QueueNumber(st.st_dev, "logical_block_size");
    double physical = QueueNumber(st.st_dev, "physical_block_size");
    *out = DiskFacts{static_cast<double>(st.st_size),
                     IsDirect(handle) && block > 0 ? block : 512,
                     physical > 0 ? physical : 4096,
                     0,
                     h->canPunch ? 1.0 : 0.0,
                     h->canPunch ? 1.0 : 0.0,
                     h->canPunch ? static_cast<double>(st.st_blksize) : 0,
                     0};
    return 0;
  }
  uint64_t bytes = 0;
  int logical = 512;
  unsigned physical = 512;
  if (ioctl(h->fd, BLKGETSIZE64, &bytes) < 0) return -errno;
  if (ioctl(h->fd, BLKSSZGET, &logical) < 0) return -errno;
  if (ioctl(h->fd, BLKPBSZGET, &physical) < 0) return -errno;
  double most = QueueNumber(st.st_rdev, "discard_max_bytes");
  double unit = QueueNumber(st.st_rdev, "discard_granularity");
  bool discard = most > 0;
  bool zeroes = QueueNumber(st.st_rdev, "write_zeroes_max_bytes") > 0;
  *out = DiskFacts{static_cast<double>(bytes),
                   static_cast<double>(logical),
                   static_cast<double>(physical),
                   1,
                   discard ? 1.0 : 0.0,
                   discard && zeroes ? 1.0 : 0.0,
                   discard && unit > 0 ? unit : 0,
                   discard ? most : 0};
  return 0;
}

void Engine::DiskCommand(const Command& c) {
  Handle* h = Find(c.handle, HandleKind::kDisk);
  CommandKind kind = static_cast<CommandKind>(c.kind);
  if (h == nullptr) return Done(c.tag, -EBADF);
  if (h->abandoned) return Done(c.tag, -ETIMEDOUT);
  bool moves = kind == CommandKind::kRead || kind == CommandKind::kWrite;
  if (moves && (!region_->Holds(c.at, c.length) || c.length <= 0)) return Done(c.tag, -EFAULT);
  OpKind op = OpKind::kRead;
  if (kind == CommandKind::kWrite) op = OpKind::kWrite;
  if (kind == CommandKind::kFlush) op = OpKind::kFlush;
  if (kind == CommandKind::kDiscard) op = OpKind::kPunch;
  if (kind == CommandKind::kZero) op = (c.flags & 1) ? OpKind::kPunch : OpKind::kZeroRange;
  uint32_t index = NewOp(op);
  Op& o = ops_[index];
  o.forZero = kind == CommandKind::kZero;
  o.tag = c.tag;
  o.slot = h->id & (kMaxHandles - 1);
  o.at = c.at;
  o.length = c.length;
  o.flags = c.flags;
  o.offset = static_cast<uint64_t>(c.offset);
  o.wideLength = static_cast<uint64_t>(c.wideLength);
  h->inFlight++;
  StartDiskOp(index);
}

void Engine::StartDiskOp(uint32_t index) {
  Op& op = ops_[index];
  Handle* h = handles_[static_cast<size_t>(op.slot)].get();
  if (op.kind == OpKind::kDiscard) {
    if (!blocking_) blocking_ = std::make_unique<BlockingThread>(wakeFd_);
    return blocking_->Discard(index, h->fd, op.offset, op.wideLength);
  }
  io_uring_sqe* sqe = Entry();
  sqe->fd = h->fd;
  sqe->user_data = index;
  switch (op.kind) {
    case OpKind::kRead:
    case OpKind::kWrite: {
      // The range was checked when the command came; slots are registered, the peek regions behind them are not.
      bool fixed =
          fixed_ && static_cast<size_t>(op.at) + static_cast<size_t>(op.length) <= region_->slotBytes();
      bool read = op.kind == OpKind::kRead;
      sqe->opcode = fixed ? (read ? IORING_OP_READ_FIXED : IORING_OP_WRITE_FIXED)
                          : (read ? IORING_OP_READ : IORING_OP_WRITE);
      sqe->addr = reinterpret_cast<uint64_t>(Memory(op.at) + op.done);
      sqe->len = static_cast<uint32_t>(static_cast<uint64_t>(op.length) - op.done);
      sqe->off = op.offset + op.done;
      sqe->buf_index = 0;
      if (!read && (op.flags & 1)) sqe->rw_flags = RWF_DSYNC;
      return;
    }
    case OpKind::kFlush:
      sqe->opcode = IORING_OP_FSYNC;
      sqe->fsync_flags = IORING_FSYNC_DATASYNC;
      return;
    case OpKind::kPunch:
    case OpKind::kZeroRange:
      sqe->opcode = IORING_OP_FALLOCATE;
      sqe->off = op.offset;
      sqe->addr = op.wideLength;
      sqe->len = op.kind == OpKind::kPunch ? kPunch : kZeroRange;
      return;
    case OpKind::kWriteZeroes:
      sqe->opcode = IORING_OP_WRITE;
      sqe->addr = reinterpret_cast<uint64_t>(zeroes_);
      sqe->len = static_cast<uint32_t>(std::min<uint64_t>(kZeroBytes, op.wideLength - op.done));
      sqe->off = op.offset + op.done;
      return;
    default:
      abort();
  }
}

void Engine::Abandon(const Command& c) {
  Handle* h = Find(c.handle, HandleKind::kDisk);
  if (h == nullptr) return Done(c.tag, -EBADF);
  h->abandoned = true;
  h->abandonTag = c.tag;
  for (size_t i = 0; i < ops_.size(); i++) {
    Op& op = ops_[i];
    bool disk = op.kind >= OpKind::kRead && op.kind <= OpKind::kDiscard;
    if (!disk || op.slot != (h->id & (kMaxHandles - 1))) continue;
    op.abandoned = true;
    abandonedOps_++;
    Tell(EventKind::kAbandoned, h->id, op.tag, -ETIMEDOUT, MemoryOf(op));
    // What waits in the kernel and was not given to the disk comes back at once.
    if (op.kind != OpKind::kDiscard) Cancel(static_cast<uint32_t>(i));
  }
  if (h->inFlight == 0) Done(c.tag, 0);
}

void Engine::DiskDone(uint32_t index, int result) {
  Op& op = ops_[index];
  Handle* h = handles_[static_cast<size_t>(op.slot)].get();
  if (op.abandoned) {
    Tell(EventKind::kReturned, h->id, kNoTag, 0, MemoryOf(op));
    FreeOp(index);
    abandonedOps_--;
    h->inFlight--;
    if (h->inFlight == 0) Done(h->abandonTag, 0);
    if (h->closing) MaybeFinishClose(h);
    return;
  }
  if (result == -EINTR || result == -EAGAIN) return StartDiskOp(index);
  bool moves =
      op.kind == OpKind::kRead || op.kind == OpKind::kWrite || op.kind == OpKind::kWriteZeroes;
  if (moves && result >= 0) {
    uint64_t total =
        op.kind == OpKind::kWriteZeroes ? op.wideLength : static_cast<uint64_t>(op.length);
    op.done += static_cast<uint64_t>(result);
    if (result > 0 && op.done < total) return StartDiskOp(index);
    if (op.done < total) result = -EIO;  // the end of the disk
    else result = op.kind == OpKind::kWriteZeroes ? 0 : op.length;
  } else if (moves && op.done > 0 && result == -EINVAL) {
    result = -EIO;  // continued at a border that O_DIRECT refuses: the end of an odd-sized file
  }
  if (Unsupported(result)) {
    OpKind next = OpKind::kFree;
    if (op.kind == OpKind::kPunch && op.forZero) next = OpKind::kZeroRange;
    if (op.kind == OpKind::kPunch && !op.forZero && h->blockDevice) next = OpKind::kDiscard;
    if (op.kind == OpKind::kZeroRange) next = OpKind::kWriteZeroes;
    if (next != OpKind::kFree) {
      op.kind = next;
      op.done = 0;
      return StartDiskOp(index);
    }
    result = -EOPNOTSUPP;
  }
  Done(op.tag, result);
  FreeOp(index);
  h->inFlight--;
  if (h->closing) MaybeFinishClose(h);
}

}  // namespace twinbeat
