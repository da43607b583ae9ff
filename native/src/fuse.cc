// /dev/fuse: one read is one request, one write is one answer.
//
// Requests are read without waiting, as long as a buffer of the largest class is fed: the size of a request is known
// only when it was read. A small one is moved to the smallest fed buffer that fits, and the large one is kept.
// The ring polls the descriptor; it is armed with the first buffer, so nothing is read before that (a successor has to
// write NOTIFY_RESEND first). O_NONBLOCK is a flag of the open file: it is set for every holder of the descriptor.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "engine.h"

namespace twinbeat {
namespace {

constexpr int32_t kHeaderBytes = 80;  // in-header and WRITE argument, right before the payload
constexpr int32_t kClassBytes[kSizeClasses] = {0, 4096, 65536, 1 << 20};
constexpr int kReadsPerTurn = 64;  // so that a busy device does not keep other completions waiting

}  // namespace

int Engine::AttachFuse(int fd) {
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) return -errno;
  Handle* h = NewHandle(HandleKind::kFuse, fd);
  return h == nullptr ? -EMFILE : h->id;
}

void Engine::FuseFeed(const Command& c) {
  Handle* h = Find(c.handle, HandleKind::kFuse);
  size_t k = 0;
  while (k < kSizeClasses && kClassBytes[k] != c.length) k++;
  bool good = h != nullptr && k < kSizeClasses && c.at >= kHeaderBytes && region_->Holds(c.at, c.length);
  if (!good) return Tell(EventKind::kUnused, c.handle, kNoTag, 0, c.at);
  h->fed[k].push_back(c.at);
  if (!h->polling && !h->ended) FusePoll(h);
  if (h->readable) MarkDirty(h);
}

void Engine::FusePoll(Handle* h) {
  uint32_t index = NewOp(OpKind::kFusePoll);
  ops_[index].slot = h->id & (kMaxHandles - 1);
  h->waitOp = index;
  h->polling = true;
  h->inFlight++;
  io_uring_sqe* sqe = Entry();
  sqe->opcode = IORING_OP_POLL_ADD;
  sqe->fd = h->fd;
  sqe->poll32_events = POLLIN;
  sqe->len = IORING_POLL_ADD_MULTI;
  sqe->user_data = index;
}

void Engine::FusePolled(uint32_t index, int result, unsigned flags) {
  Handle* h = handles_[static_cast<size_t>(ops_[index].slot)].get();
  if (!(flags & IORING_CQE_F_MORE)) {
    FreeOp(index);
    h->polling = false;
    h->inFlight--;
    if (h->closing) return MaybeFinishClose(h);
    if (!h->ended && result >= 0) FusePoll(h);
  }
  if (h->closing) return;
  if (result < 0) return FuseEnd(h, -result);
  h->readable = true;
  MarkDirty(h);
}

void Engine::FuseRead(Handle* h) {
  std::vector<int32_t>& large = h->fed[kSizeClasses - 1];
  for (int reads = 0; h->readable && !h->ended && !large.empty(); reads++) {
    if (reads == kReadsPerTurn) return MarkDirty(h);
    int32_t at = large.back();
    ssize_t n = read(h->fd, Memory(at - kHeaderBytes),
                     static_cast<size_t>(kHeaderBytes + kClassBytes[kSizeClasses - 1]));
    if (n < 0) {
      if (errno == EAGAIN) h->readable = false;
      else if (errno != EINTR && errno != ENOENT) FuseEnd(h, errno);
      continue;
    }
    for (size_t k = 0; k < kSizeClasses; k++) {
      if (h->fed[k].empty() || n > kHeaderBytes + kClassBytes[k]) continue;
      int32_t to = h->fed[k].back();
      h->fed[k].pop_back();
      if (to != at) {
        memcpy(Memory(to - kHeaderBytes), Memory(at - kHeaderBytes), static_cast<size_t>(n));
      }
      Tell(EventKind::kFuseRequest, h->id, kNoTag, static_cast<int32_t>(n), to);
      break;
    }
  }
}

int Engine::FuseReply(int32_t handle, int32_t at, int32_t length) {
  Handle* h = Find(handle, HandleKind::kFuse);
  if (h == nullptr) return -EBADF;
  if (!region_->Holds(at, length)) return -EFAULT;
  if (h->ended) return 0;
  ssize_t n;
  do {
    n = write(h->fd, Memory(at), static_cast<size_t>(length));
  } while (n < 0 && errno == EINTR);
  if (n >= 0 || errno == ENOENT) return 0;  // ENOENT: the request is no more
  if (errno != ENODEV) return -errno;
  FuseEnd(h, ENODEV);
  return 0;
}

void Engine::FuseEnd(Handle* h, int error) {
  if (h->ended) return;
  h->ended = true;
  if (h->polling) Cancel(h->waitOp);
  Tell(EventKind::kFuseEnd, h->id, kNoTag, error);
}

void Engine::FuseDrain(Handle* h) {
  for (auto& list : h->fed) {
    for (int32_t at : list) Tell(EventKind::kUnused, h->id, kNoTag, 0, at);
    list.clear();
  }
}

}  // namespace twinbeat
