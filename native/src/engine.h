// The I/O engine of one thread: handles, operations in flight, events to be told. It knows neither Node nor what a
// replica is: it opens, moves bytes between descriptors and the pool, and reports -errno.
//
//     Execute(commands) -> direct sendmsg, ring entries -> kernel -> eventfd -> Reap() -> TakeEvents(events)
//
// Split by what is moved: engine.cc (handles, ring, life and death), disk.cc, stream.cc, fuse.cc.
#pragma once
#include <sys/socket.h>
#include <sys/uio.h>

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "blocking.h"
#include "records.h"
#include "region.h"
#include "ring.h"

namespace twinbeat {

constexpr int kSlotBits = 12;  // handle = generation << kSlotBits | slot
constexpr int kMaxHandles = 1 << kSlotBits;
constexpr size_t kSizeClasses = 4;

enum class HandleKind : uint8_t { kFree, kDisk, kStream, kListener, kFuse };

struct Segment {
  int32_t at;
  int32_t length;
  uint32_t tag;
};

// One descriptor and what is going on with it. Which fields are used depends on `kind`.
struct Handle {
  HandleKind kind = HandleKind::kFree;
  bool closing = false;
  int fd = -1;
  int32_t id = 0;
  int inFlight = 0;  // operations in the ring or with the blocking thread
  // disk
  bool blockDevice = false;
  bool writable = false;
  bool canPunch = false;
  bool abandoned = false;
  uint32_t abandonTag = kNoTag;
  // stream
  bool receiving = false;
  bool sendBlocked = false;  // waiting for POLLOUT
  bool dirty = false;        // has to be flushed, or a FUSE descriptor read, at the end of Execute
  int sendError = 0;
  uint32_t waitOp = 0;     // the recv, accept or poll in flight, for its cancellation
  uint32_t sendOp = 0;     // the POLLOUT in flight
  size_t sendHead = 0;     // first segment of `sends` not yet done
  size_t sendOffset = 0;   // bytes of it that the kernel has taken
  std::vector<Segment> sends;
  // listener
  std::string unlinkPath;
  // fuse
  bool polling = false;
  bool readable = false;
  bool ended = false;
  std::vector<int32_t> fed[kSizeClasses];
};

enum class OpKind : uint8_t {
  kFree,
  kRead,
  kWrite,
  kFlush,
  kPunch,       // FALLOC_FL_PUNCH_HOLE
  kZeroRange,   // FALLOC_FL_ZERO_RANGE
  kWriteZeroes, // from a buffer of zeroes
  kDiscard,     // BLKDISCARD in the blocking thread
  kReceive,
  kSendWait,
  kAccept,
  kAcceptPause,
  kConnect,
  kOpen,
  kFusePoll,
};

struct Op {
  OpKind kind = OpKind::kFree;
  bool forZero = false;  // kPunch: zeroDisk, not discardDisk
  bool abandoned = false;  // told as failed; its memory is the disk's until it is done
  uint32_t tag = kNoTag;
  int32_t slot = -1;
  int32_t at = 0;
  int32_t length = 0;
  int32_t at2 = 0;
  int32_t length2 = 0;
  int32_t flags = 0;
  uint64_t offset = 0;
  uint64_t wideLength = 0;
  uint64_t done = 0;
  int fd = -1;  // connect: the socket; open: none yet
  bool direct = false;
  iovec iov[2] = {};
  msghdr message = {};
  sockaddr_storage address = {};
  socklen_t addressBytes = 0;
  long long timeout[2] = {};  // __kernel_timespec
  std::string path;
};

struct DiskFacts {
  double sizeBytes;
  double logicalBlockBytes;
  double physicalBlockBytes;
  double isBlockDevice;
  double canDiscard;
  double discardZeroes;
  double discardGranularityBytes;  // 0: not known
  double maxDiscardBytes;          // 0: without a limit
};

struct EndpointText {
  int family;  // 4, 6, 1: unix
  std::string host;  // or path
  int port;
};

class Engine {
 public:
  // nullptr, -errno in `error` and the step in `why` when there is no usable io_uring here.
  static std::unique_ptr<Engine> Create(std::shared_ptr<Region> region, int32_t* backlog,
                                        int* error, const char** why);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Readable when there may be something to reap; the reader resets it.
  int wakeFd() const { return wakeFd_; }
  void SetQuiet(bool quiet) { ring_.SetQuiet(quiet); }

  void Execute(const Command* commands, size_t count);
  // Takes completions from the kernel. True when there are events, or it has to be called again.
  bool Reap();
  // Something is to be done that no wake-up will announce.
  bool NeedsTurn() const { return HasEvents() || !dirty_.empty(); }
  bool HasEvents() const { return eventHead_ < events_.size(); }
  size_t TakeEvents(Event* out, size_t max);

  // Queued for the next Execute; complete by an event with `tag`.
  void OpenDisk(const std::string& path, bool write, bool exclusive, uint32_t tag);
  void Connect(const EndpointText& remote, const EndpointText* local, int timeoutMs, int sendBytes,
               int receiveBytes, uint32_t tag);
  // At once: a handle or -errno.
  int Listen(const EndpointText& at, int sendBytes, int receiveBytes);
  int AttachFuse(int fd);
  // At once: 0 or -errno.
  int FuseReply(int32_t handle, int32_t at, int32_t length);
  int GetDiskFacts(int32_t handle, DiskFacts* out);
  bool StreamAlive(int32_t handle);
  std::string PeerName(int32_t handle);
  // Whether the descriptor was opened O_DIRECT: for tests and the log.
  bool IsDirect(int32_t handle);
  bool IsOpen(int32_t handle) { return Find(handle) != nullptr; }

  // Cancels what has no handle yet (connects, opens). Handles are closed by commands.
  void CancelUnowned();
  // Without what was abandoned: nobody waits for that.
  size_t inFlight() const { return opsInFlight_ - abandonedOps_; }
  // Cancels everything and waits up to `timeoutMs`. False when the kernel still holds operations: then the pool must
  // never be unmapped (the region is leaked on purpose).
  bool Shutdown(int timeoutMs);
  // The eventfd is this engine's; whoever polls it stops before it is closed.
  bool fixedBuffers() const { return fixed_; }

 private:
  explicit Engine(std::shared_ptr<Region> region, int32_t* backlog);

  // engine.cc
  uint32_t NewOp(OpKind kind);
  void FreeOp(uint32_t index);
  io_uring_sqe* Entry(unsigned together = 1);
  void SubmitRing();
  void DrainRing();
  void Complete(uint32_t index, int result, unsigned flags);
  void Cancel(uint32_t index);
  void Tell(EventKind kind, int32_t handle, uint32_t tag, int32_t result, int32_t at = 0);
  void Done(uint32_t tag, int64_t result);
  void DoneWithHandle(uint32_t tag, int32_t result);
  Handle* NewHandle(HandleKind kind, int fd);
  Handle* Find(int32_t id);
  Handle* Find(int32_t id, HandleKind kind);
  void Close(Handle* h);
  void MaybeFinishClose(Handle* h);
  void MarkDirty(Handle* h);
  void Run(const Command& c);
  uint8_t* Memory(int64_t at) { return region_->base() + at; }

  // disk.cc
  void DiskCommand(const Command& c);
  void StartDiskOp(uint32_t index);
  void Abandon(const Command& c);
  void DiskDone(uint32_t index, int result);
  void StartOpen(uint32_t index);
  void OpenDone(uint32_t index, int result);
  int FinishOpen(const Op& op, int fd);

  // stream.cc
  void Send(const Command& c);
  void FlushSends(Handle* h);
  void FailSends(Handle* h, int error);
  void StartReceive(uint32_t index);
  void Receive(const Command& c);
  void ReceiveDone(uint32_t index, int result);
  void StartAccept(Handle* h);
  void AcceptDone(uint32_t index, int result);
  void ConnectDone(uint32_t index, int result);

  // fuse.cc
  void FuseFeed(const Command& c);
  void FusePoll(Handle* h);
  void FusePolled(uint32_t index, int result, unsigned flags);
  void FuseRead(Handle* h);
  void FuseEnd(Handle* h, int error);
  void FuseDrain(Handle* h);

  std::shared_ptr<Region> region_;
  int32_t* const backlog_;  // bytes queued per stream slot, shared with TypeScript
  Ring ring_;
  int wakeFd_ = -1;
  bool fixed_ = false;
  bool stopped_ = true;  // until Create has succeeded
  std::deque<Op> ops_;  // addresses are stable: the kernel reads message headers at submission
  std::vector<uint32_t> freeOps_;
  size_t opsInFlight_ = 0;
  size_t abandonedOps_ = 0;
  std::vector<std::unique_ptr<Handle>> handles_;
  std::vector<int32_t> freeSlots_;
  std::vector<int32_t> dirty_;
  std::vector<int32_t> dirtyNow_;
  std::vector<Event> events_;
  size_t eventHead_ = 0;
  std::unique_ptr<BlockingThread> blocking_;
  std::vector<std::pair<uint32_t, int>> blockingDone_;
  uint8_t* zeroes_ = nullptr;
};

constexpr size_t kZeroBytes = 1 << 18;

}  // namespace twinbeat
