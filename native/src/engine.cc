#include "engine.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

namespace twinbeat {
namespace {

constexpr unsigned kRingEntries = 512;
constexpr uint64_t kIgnored = ~0ull;  // completions of cancellations and link timeouts
constexpr int kGenerations = 1 << 18;

}  // namespace

Engine::Engine(std::shared_ptr<Region> region, int32_t* backlog)
    : region_(std::move(region)), backlog_(backlog) {}

std::unique_ptr<Engine> Engine::Create(std::shared_ptr<Region> region, int32_t* backlog,
                                       int* error, const char** why) {
  std::unique_ptr<Engine> engine(new Engine(std::move(region), backlog));
  *error = engine->ring_.Setup(kRingEntries, why);
  if (*error != 0) return nullptr;
  *error = engine->ring_.CheckOperations(why);
  if (*error != 0) return nullptr;
  *why = "eventfd";
  engine->wakeFd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  *error = engine->wakeFd_ < 0 ? -errno : engine->ring_.RegisterEventFd(engine->wakeFd_);
  if (*error != 0) return nullptr;
  void* zeroes =
      mmap(nullptr, kZeroBytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  *why = "mmap";
  *error = zeroes == MAP_FAILED ? -errno : 0;
  if (*error != 0) return nullptr;
  engine->zeroes_ = static_cast<uint8_t*>(zeroes);
  // Pages pinned once instead of at each request. Without the right to lock that much, it goes without.
  size_t slots = engine->region_->slotBytes();
  engine->fixed_ = slots > 0 && slots < (1u << 30) &&
                   engine->ring_.RegisterBuffer(engine->region_->base(), slots) == 0;
  engine->stopped_ = false;
  return engine;
}

Engine::~Engine() {
  if (!stopped_) Shutdown(0);
  blocking_.reset();
  if (wakeFd_ >= 0) close(wakeFd_);
}

// ---- operations and the ring

uint32_t Engine::NewOp(OpKind kind) {
  uint32_t index;
  if (freeOps_.empty()) {
    index = static_cast<uint32_t>(ops_.size());
    ops_.emplace_back();
  } else {
    index = freeOps_.back();
    freeOps_.pop_back();
  }
  Op& op = ops_[index];
  op.kind = kind;
  op.forZero = false;
  op.abandoned = false;
  op.tag = kNoTag;
  op.slot = -1;
  op.flags = 0;
  op.done = 0;
  op.fd = -1;
  op.direct = false;
  opsInFlight_++;
  return index;
}

void Engine::FreeOp(uint32_t index) {
  Op& op = ops_[index];
  op.kind = OpKind::kFree;
  op.path.clear();
  freeOps_.push_back(index);
  opsInFlight_--;
}

// The next entry of the ring; `together` entries fit without a submission in between.
io_uring_sqe* Engine::Entry(unsigned together) {
  if (ring_.Space() < together) SubmitRing();
  return ring_.Next();
}

void Engine::SubmitRing() {
  for (;;) {
    int r = ring_.Submit();
    if (r == 0) return;
    if (r != -EBUSY && r != -EAGAIN) {
      // Wrong arguments of io_uring_enter: a bug here, and going on would lose operations silently.
      fprintf(stderr, "twinbeat: io_uring_enter: %s\n", strerror(-r));
      abort();
    }
    DrainRing();
    sched_yield();
  }
}

void Engine::DrainRing() {
  ring_.RunPending();
  io_uring_cqe cqe;
  while (ring_.Take(&cqe)) {
    if (cqe.user_data != kIgnored) {
      Complete(static_cast<uint32_t>(cqe.user_data), cqe.res, cqe.flags);
    }
  }
}

bool Engine::Reap() {
  DrainRing();
  if (blocking_) {
    blockingDone_.clear();
    blocking_->Take(&blockingDone_);
    for (auto& [op, result] : blockingDone_) Complete(op, result, 0);
  }
  // Completions can ask for more: a partial write goes on, a listener accepts again.
  for (int32_t id : dirty_) dirtyNow_.push_back(id);
  dirty_.clear();
  for (int32_t id : dirtyNow_) {
    Handle* h = Find(id);
    if (h == nullptr) continue;
    h->dirty = false;
    if (h->kind == HandleKind::kFuse) FuseRead(h);
    if (h->kind == HandleKind::kStream) FlushSends(h);
  }
  dirtyNow_.clear();
  if (ring_.Unsubmitted() > 0) SubmitRing();
  return NeedsTurn();
}

void Engine::Complete(uint32_t index, int result, unsigned flags) {
  switch (ops_[index].kind) {
    case OpKind::kRead:
    case OpKind::kWrite:
    case OpKind::kFlush:
    case OpKind::kPunch:
    case OpKind::kZeroRange:
    case OpKind::kWriteZeroes:
    case OpKind::kDiscard:
      return DiskDone(index, result);
    case OpKind::kOpen:
      return OpenDone(index, result);
    case OpKind::kReceive:
      return ReceiveDone(index, result);
    case OpKind::kAccept:
      return AcceptDone(index, result);
    case OpKind::kConnect:
      return ConnectDone(index, result);
    case OpKind::kFusePoll:
      return FusePolled(index, result, flags);
    case OpKind::kSendWait: {
      Handle* h = handles_[static_cast<size_t>(ops_[index].slot)].get();
      FreeOp(index);
      h->inFlight--;
      h->sendBlocked = false;
      if (h->closing) return MaybeFinishClose(h);
      return FlushSends(h);
    }
    case OpKind::kAcceptPause: {
      Handle* h = handles_[static_cast<size_t>(ops_[index].slot)].get();
      FreeOp(index);
      h->inFlight--;
      if (h->closing) return MaybeFinishClose(h);
      return StartAccept(h);
    }
    case OpKind::kFree:
      fprintf(stderr, "twinbeat: a completion of no operation\n");
      abort();
  }
}

void Engine::Cancel(uint32_t index) {
  io_uring_sqe* sqe = Entry();
  sqe->opcode = IORING_OP_ASYNC_CANCEL;
  sqe->fd = -1;
  sqe->addr = index;
  sqe->user_data = kIgnored;
}

void Engine::CancelUnowned() {
  for (size_t i = 0; i < ops_.size(); i++) {
    OpKind kind = ops_[i].kind;
    if (kind == OpKind::kConnect) ops_[i].flags = 1;  // not a timeout
    if (kind == OpKind::kConnect || kind == OpKind::kOpen) Cancel(static_cast<uint32_t>(i));
  }
  SubmitRing();
}

// ---- events

void Engine::Tell(EventKind kind, int32_t handle, uint32_t tag, int32_t result, int32_t at) {
  events_.push_back(Event{static_cast<int32_t>(kind), handle, tag, result, at, 0});
}

void Engine::Done(uint32_t tag, int64_t result) {
  if (tag != kNoTag) Tell(EventKind::kDone, 0, tag, static_cast<int32_t>(result));
}

// Told even when nobody asked: the handle must be known to be closed.
void Engine::DoneWithHandle(uint32_t tag, int32_t result) {
  Tell(EventKind::kDone, result > 0 ? result : 0, tag, result);
}

size_t Engine::TakeEvents(Event* out, size_t max) {
  size_t count = std::min(max, events_.size() - eventHead_);
  memcpy(out, events_.data() + eventHead_, count * sizeof(Event));
  eventHead_ += count;
  if (eventHead_ == events_.size()) {
    events_.clear();
    eventHead_ = 0;
  }
  return count;
}

// ---- handles

Handle* Engine::NewHandle(HandleKind kind, int fd) {
  size_t slot;
  int32_t id;
  if (freeSlots_.empty()) {
    if (handles_.size() >= kMaxHandles) return nullptr;
    slot = handles_.size();
    handles_.push_back(std::make_unique<Handle>());
    id = static_cast<int32_t>(1 << kSlotBits | slot);
  } else {
    slot = static_cast<size_t>(freeSlots_.back());
    freeSlots_.pop_back();
    int generation = (handles_[slot]->id >> kSlotBits) + 1;
    if (generation >= kGenerations) generation = 1;
    id = static_cast<int32_t>(generation << kSlotBits | static_cast<int>(slot));
  }
  Handle* h = handles_[slot].get();
  *h = Handle();
  h->kind = kind;
  h->fd = fd;
  h->id = id;
  backlog_[slot] = 0;
  return h;
}

Handle* Engine::Find(int32_t id) {
  size_t slot = static_cast<size_t>(id & (kMaxHandles - 1));
  if (id <= 0 || slot >= handles_.size()) return nullptr;
  Handle* h = handles_[slot].get();
  return h->id == id && h->kind != HandleKind::kFree && !h->closing ? h : nullptr;
}

Handle* Engine::Find(int32_t id, HandleKind kind) {
  Handle* h = Find(id);
  return h != nullptr && h->kind == kind ? h : nullptr;
}

void Engine::Close(Handle* h) {
  if (h->kind == HandleKind::kStream) {
    FlushSends(h);  // what was queued before the close is offered to the kernel first
    FailSends(h, ECANCELED);
    if (h->sendBlocked) Cancel(h->sendOp);
    if (h->receiving) Cancel(h->waitOp);
  }
  if (h->kind == HandleKind::kListener) {
    shutdown(h->fd, SHUT_RDWR);  // refuses from now on, not only when the accept is cancelled
    if (h->inFlight > 0) Cancel(h->waitOp);
  }
  if (h->kind == HandleKind::kFuse) {
    if (h->polling) Cancel(h->waitOp);
    FuseDrain(h);
  }
  h->closing = true;
  MaybeFinishClose(h);
}

void Engine::MaybeFinishClose(Handle* h) {
  if (h->inFlight > 0) return;
  close(h->fd);
  if (!h->unlinkPath.empty()) unlink(h->unlinkPath.c_str());
  int32_t id = h->id;
  h->kind = HandleKind::kFree;
  h->fd = -1;
  h->sends = std::vector<Segment>();
  freeSlots_.push_back(id & (kMaxHandles - 1));
  Tell(EventKind::kClosed, id, kNoTag, 0);
}

void Engine::MarkDirty(Handle* h) {
  if (h->dirty) return;
  h->dirty = true;
  dirty_.push_back(h->id);
}

// ---- commands

void Engine::Execute(const Command* commands, size_t count) {
  for (size_t i = 0; i < count; i++) Run(commands[i]);
  // First the network, then the disk: the way to the peer and back is the longer one.
  dirtyNow_.swap(dirty_);
  for (int32_t id : dirtyNow_) {
    Handle* h = Find(id);
    if (h == nullptr) continue;
    h->dirty = false;
    if (h->kind == HandleKind::kStream) FlushSends(h);
    if (h->kind == HandleKind::kFuse) FuseRead(h);
  }
  dirtyNow_.clear();
  if (ring_.Unsubmitted() > 0) SubmitRing();
}

void Engine::Run(const Command& c) {
  switch (static_cast<CommandKind>(c.kind)) {
    case CommandKind::kRead:
    case CommandKind::kWrite:
    case CommandKind::kFlush:
    case CommandKind::kDiscard:
    case CommandKind::kZero:
      return DiskCommand(c);
    case CommandKind::kSend:
      return Send(c);
    case CommandKind::kReceive:
      return Receive(c);
    case CommandKind::kFuseFeed:
      return FuseFeed(c);
    case CommandKind::kComplete:
      return Done(c.tag, c.length);
    case CommandKind::kAbandon:
      return Abandon(c);
    case CommandKind::kClose: {
      Handle* h = Find(c.handle);
      if (h != nullptr) Close(h);
      return;
    }
  }
}

// ---- the end

bool Engine::Shutdown(int timeoutMs) {
  stopped_ = true;
  for (size_t i = 0; i < handles_.size(); i++) {
    Handle* h = handles_[i].get();
    if (h->kind != HandleKind::kFree && !h->closing) Close(h);
  }
  for (size_t i = 0; i < ops_.size(); i++) {
    if (ops_[i].kind != OpKind::kFree) Cancel(static_cast<uint32_t>(i));
  }
  SubmitRing();
  constexpr int kStepMs = 20;
  for (int waited = 0;; waited += kStepMs) {
    Reap();
    if (opsInFlight_ == 0 || waited >= timeoutMs) break;
    int r = ring_.Wait(kStepMs);
    if (r == 0) waited -= kStepMs;  // progress
  }
  events_.clear();
  eventHead_ = 0;
  bool clean = opsInFlight_ == 0;
  ring_.Close();
  if (!clean) {
    // The kernel may still write into the pool: it stays mapped for ever.
    new std::shared_ptr<Region>(region_);
    return false;
  }
  munmap(zeroes_, kZeroBytes);
  return true;
}

}  // namespace twinbeat
