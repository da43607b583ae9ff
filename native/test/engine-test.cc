// The engine without Node, for ASan and UBSan (make native-asan): files, sockets, partial sends, close and shutdown with
// operations in flight. The semantics in full are checked by the shared suite; here it is memory and life times.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <map>
#include <random>
#include <string>
#include <vector>

#include "../src/engine.h"
#include "../src/system.h"

using namespace twinbeat;

namespace {

#define CHECK(condition)                                                      \
  do {                                                                        \
    if (!(condition)) {                                                       \
      fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
      exit(1);                                                                \
    }                                                                         \
  } while (0)

constexpr size_t kSlotBytes = 16 << 20;
constexpr size_t kPeekBytes = 131072;
constexpr int kDeadlineMs = 10'000;

struct Bench {
  std::vector<int32_t> backlog = std::vector<int32_t>(kMaxHandles);
  std::shared_ptr<Region> region;
  std::unique_ptr<Engine> engine;
  std::vector<Command> queue;
  std::map<uint32_t, int32_t> done;
  std::vector<Event> others;

  Bench() {
    int error = 0;
    const char* why = "";
    region = Region::Create(kSlotBytes, 4, kPeekBytes, &error);
    CHECK(region != nullptr);
    engine = Engine::Create(region, backlog.data(), &error, &why);
    CHECK(engine != nullptr);
  }
  void Queue(CommandKind kind, int32_t handle, int32_t at, int32_t length, uint32_t tag,
             double offset = 0, int32_t flags = 0, double wide = 0, int32_t at2 = 0,
             int32_t length2 = 0) {
    Command c{};
    c.kind = static_cast<int32_t>(kind);
    c.handle = handle;
    c.at = at;
    c.length = length;
    c.tag = tag;
    c.flags = flags;
    c.offset = offset;
    c.wideLength = wide;
    c.at2 = at2;
    c.length2 = length2;
    queue.push_back(c);
    if (kind == CommandKind::kSend) backlog[static_cast<size_t>(handle & (kMaxHandles - 1))] += length;
  }
  void Submit() {
    engine->Execute(queue.data(), queue.size());
    queue.clear();
  }
  void Turn(int waitMs) {
    if (!engine->NeedsTurn()) {
      pollfd p{engine->wakeFd(), POLLIN, 0};
      poll(&p, 1, waitMs);
      uint64_t count;
      if (read(engine->wakeFd(), &count, sizeof count) < 0) CHECK(errno == EAGAIN);
    }
    engine->Reap();
    Event events[7];  // few, so that they come in several portions
    while (size_t n = engine->TakeEvents(events, 7)) {
      for (size_t i = 0; i < n; i++) {
        if (events[i].kind == static_cast<int32_t>(EventKind::kDone)) {
          CHECK(done.count(events[i].tag) == 0);
          done[events[i].tag] = events[i].result;
        } else {
          others.push_back(events[i]);
        }
      }
    }
  }
  int32_t Wait(uint32_t tag) {
    Submit();
    for (int ms = 0; done.count(tag) == 0; ms += 10) {
      CHECK(ms < kDeadlineMs);
      Turn(10);
    }
    return done[tag];
  }
  Event WaitEvent(EventKind kind) {
    Submit();
    for (int ms = 0;; ms += 10) {
      for (size_t i = 0; i < others.size(); i++) {
        if (others[i].kind != static_cast<int32_t>(kind)) continue;
        Event e = others[i];
        others.erase(others.begin() + static_cast<long>(i));
        return e;
      }
      CHECK(ms < kDeadlineMs);
      Turn(10);
    }
  }
  uint8_t* At(int32_t at) { return region->base() + at; }
};

std::string TemporaryFile(size_t bytes) {
  char path[] = "/tmp/engine-test-XXXXXX";
  int fd = mkstemp(path);
  CHECK(fd >= 0 && ftruncate(fd, static_cast<off_t>(bytes)) == 0);
  close(fd);
  return path;
}

void Disk() {
  Bench b;
  std::string path = TemporaryFile(4 << 20);
  b.engine->OpenDisk(path, true, false, 1);
  int32_t disk = b.Wait(1);
  CHECK(disk > 0);
  for (int i = 0; i < 1 << 20; i++) b.At(4096)[i] = static_cast<uint8_t>(i * 31);
  b.Queue(CommandKind::kWrite, disk, 4096, 1 << 20, 2, 0, 1);
  CHECK(b.Wait(2) == 1 << 20);
  b.Queue(CommandKind::kFlush, disk, 0, 0, 3);
  CHECK(b.Wait(3) == 0);
  b.Queue(CommandKind::kZero, disk, 0, 0, 4, 4096, 0, 8192);
  CHECK(b.Wait(4) == 0);
  b.Queue(CommandKind::kZero, disk, 0, 0, 5, 65536, 1, 512);
  CHECK(b.Wait(5) == 0);
  int32_t to = 4096 + (2 << 20);
  b.Queue(CommandKind::kRead, disk, to, 1 << 20, 6);
  CHECK(b.Wait(6) == 1 << 20);
  for (int i = 0; i < 1 << 20; i++) {
    bool zero = (i >= 4096 && i < 12288) || (i >= 65536 && i < 66048);
    CHECK(b.At(to)[i] == (zero ? 0 : static_cast<uint8_t>(i * 31)));
  }
  // Outside of the pool, outside of the disk.
  b.Queue(CommandKind::kRead, disk, static_cast<int32_t>(b.region->bytes()) - 4096, 8192, 7);
  CHECK(b.Wait(7) == -EFAULT);
  b.Queue(CommandKind::kRead, disk, 4096, 8192, 8, (4 << 20) - 4096);
  CHECK(b.Wait(8) == -EIO);
  b.Queue(CommandKind::kRead, disk + 1, 4096, 4096, 9);
  CHECK(b.Wait(9) == -EBADF);
  // More requests than the ring has entries, then close: all complete, then the handle is told closed.
  for (uint32_t i = 0; i < 2000; i++) {
    b.Queue(CommandKind::kRead, disk, 4096 + static_cast<int32_t>(i % 1000) * 4096, 4096, 100 + i,
            static_cast<double>(i % 1000) * 4096);
  }
  b.Queue(CommandKind::kClose, disk, 0, 0, kNoTag);
  CHECK(b.WaitEvent(EventKind::kClosed).handle == disk);
  for (uint32_t i = 0; i < 2000; i++) CHECK(b.done[100 + i] == 4096);
  CHECK(b.engine->inFlight() == 0);
  unlink(path.c_str());
}

void Streams() {
  Bench b;
  char name[64];
  snprintf(name, sizeof name, "/tmp/engine-test-%d.sock", getpid());
  EndpointText at{1, name, 0};
  int32_t listener = b.engine->Listen(at, 0, 0);
  CHECK(listener > 0);
  CHECK(b.engine->Listen(at, 0, 0) == -EADDRINUSE);
  b.engine->Connect(at, nullptr, 1000, 0, 0, 1);
  int32_t client = b.Wait(1);
  CHECK(client > 0);
  int32_t server = b.WaitEvent(EventKind::kAccepted).result;
  // Pieces of random size, received by turns into the peek region (over its doubled end) and into targets.
  std::mt19937 random(1);
  const int32_t source = 4096, target = 4096 + (4 << 20);
  const int32_t peek = static_cast<int32_t>(kSlotBytes);
  size_t sent = 0, received = 0;
  uint32_t tag = 100;
  const size_t kTotal = 32 << 20;
  for (int i = 0; i < 1 << 20; i++) b.At(source)[i] = static_cast<uint8_t>(i * 7 + (i >> 8));
  auto expected = [](size_t i) {
    size_t k = i % (1 << 20);
    return static_cast<uint8_t>(k * 7 + (k >> 8));
  };
  int32_t peekFrom = peek;
  bool asked = false;
  int32_t wanted = 0;
  while (received < kTotal) {
    while (sent < kTotal && b.backlog[static_cast<size_t>(client & (kMaxHandles - 1))] < (2 << 20)) {
      size_t from = sent % (1 << 20);
      size_t n = std::min<size_t>(1 + random() % 200'000, (1 << 20) - from);
      b.Queue(CommandKind::kSend, client, source + static_cast<int32_t>(from),
              static_cast<int32_t>(n), tag++);
      sent += n;
    }
    if (!asked) {
      wanted = random() % 2 ? static_cast<int32_t>(random() % 150'000) : 0;
      peekFrom = peek + static_cast<int32_t>(random() % kPeekBytes);
      b.Queue(CommandKind::kReceive, server, target, wanted, kNoTag, 0, 0, 0, peekFrom,
              static_cast<int32_t>(kPeekBytes));
      asked = true;
    }
    Event e = b.WaitEvent(EventKind::kReceived);
    CHECK(e.handle == server && e.result > 0);
    for (int32_t i = 0; i < e.result; i++) {
      uint8_t byte = i < wanted ? b.At(target)[i] : b.At(peekFrom)[i - wanted];
      CHECK(byte == expected(received + static_cast<size_t>(i)));
    }
    received += static_cast<size_t>(e.result);
    asked = false;
  }
  while (b.done.size() < tag - 100 + 1) b.Turn(10);
  CHECK(b.backlog[static_cast<size_t>(client & (kMaxHandles - 1))] == 0);
  CHECK(b.engine->StreamAlive(server));
  // Close with a receive and blocked sends in flight.
  b.Queue(CommandKind::kReceive, client, target, 4096, kNoTag);
  for (uint32_t i = 0; i < 20; i++) b.Queue(CommandKind::kSend, client, source, 1 << 20, tag + i);
  b.Submit();
  b.Queue(CommandKind::kClose, client, 0, 0, kNoTag);
  CHECK(b.WaitEvent(EventKind::kReceived).result == -ECANCELED);
  CHECK(b.WaitEvent(EventKind::kClosed).handle == client);
  CHECK(b.Wait(tag + 19) == -ECANCELED);
  b.Queue(CommandKind::kSend, client, source, 4096, tag + 50);
  CHECK(b.Wait(tag + 50) == -EBADF);
  b.Queue(CommandKind::kClose, listener, 0, 0, kNoTag);
  b.Queue(CommandKind::kClose, server, 0, 0, kNoTag);
  b.WaitEvent(EventKind::kClosed);
  b.WaitEvent(EventKind::kClosed);
  CHECK(access(name, F_OK) < 0);
  CHECK(b.engine->inFlight() == 0);
}

// The end of an environment with everything under way.
void ShutdownInFlight() {
  std::string path = TemporaryFile(4 << 20);
  for (int round = 0; round < 20; round++) {
    Bench b;
    b.engine->OpenDisk(path, true, false, 1);
    int32_t disk = b.Wait(1);
    char name[64];
    snprintf(name, sizeof name, "/tmp/engine-test-%d.sock", getpid());
    EndpointText at{1, name, 0};
    CHECK(b.engine->Listen(at, 0, 0) > 0);
    b.engine->Connect(at, nullptr, 1000, 0, 0, 2);
    int32_t client = b.Wait(2);
    b.Queue(CommandKind::kReceive, client, 4096, 200'000, kNoTag);
    for (uint32_t i = 0; i < 10; i++) b.Queue(CommandKind::kSend, client, 4096, 1 << 20, 100 + i);
    for (uint32_t i = 0; i < 100; i++) {
      b.Queue(CommandKind::kWrite, disk, 4096, 4096, 200 + i, i * 4096.0, 1);
    }
    b.engine->OpenDisk(path, true, false, 3);
    EndpointText nobody{4, "127.0.0.1", 1};
    b.engine->Connect(nobody, nullptr, 1000, 0, 0, 4);
    b.Submit();
    if (round % 2) b.Turn(0);
    CHECK(b.engine->Shutdown(5000));
    b.engine.reset();
    b.region.reset();  // unmapped: nothing may touch it any more
  }
  unlink(path.c_str());
}

}  // namespace

int main() {
  const char* why = "";
  int error = HaveIoUring(&why);
  if (error != 0) {
    printf("skipped: %s: %s\n", why, strerror(-error));
    return 0;
  }
  Disk();
  Streams();
  ShutdownInFlight();
  printf("engine-test: disk, streams, shutdown in flight: ok\n");
  return 0;
}
