// What crosses between TypeScript and the engine: fixed-size records in two shared arrays. The same numbers are in
// src/real/native-addon.ts (COMMAND, EVENT).
#pragma once
#include <cstdint>

namespace twinbeat {

constexpr uint32_t kNoTag = 0xffffffff;

enum class CommandKind : int32_t {
  kRead = 1,      // handle at length offset tag
  kWrite = 2,     // handle at length offset tag, flags 1: durable before completion
  kFlush = 3,     // handle tag
  kDiscard = 4,   // handle offset wideLength tag
  kZero = 5,      // handle offset wideLength tag, flags 1: may unmap
  kSend = 6,      // handle at length tag
  kReceive = 7,   // handle; target at length (length 0: none), then peek at2 length2 (length2 0: none)
  kClose = 8,     // handle
  kFuseFeed = 9,  // handle at length (capacity)
  kComplete = 10, // tag, result in length: comes back as an event in the next batch
  kAbandon = 11,  // handle (disk) tag: completed when nothing of it is in flight any more
};

struct Command {
  int32_t kind;
  int32_t handle;
  int32_t at;
  int32_t length;
  uint32_t tag;
  int32_t flags;
  double offset;
  double wideLength;
  int32_t at2;
  int32_t length2;
  int32_t unused[4];
};
static_assert(sizeof(Command) == 64, "TypeScript writes 64-byte commands");

enum class EventKind : int32_t {
  kDone = 1,        // tag result, handle: the one that was opened or connected, or 0
  kReceived = 2,    // handle result: bytes, 0 at the end of the stream, -errno
  kAccepted = 3,    // handle (listener), result: the new stream
  kFuseRequest = 4, // handle at result: length of the message
  kFuseEnd = 5,     // handle result: errno
  kClosed = 6,      // handle: nothing of it is in flight any more, its descriptor is closed
  kUnused = 7,      // at: a buffer that was fed and not used
  kAbandoned = 8,   // tag result, at: memory that the disk still has, or -1
  kReturned = 9,    // at: the disk has it no more
};

struct Event {
  int32_t kind;
  int32_t handle;
  uint32_t tag;
  int32_t result;
  int32_t at;
  int32_t unused;
};
static_assert(sizeof(Event) == 24, "TypeScript reads 24-byte events");

}  // namespace twinbeat
