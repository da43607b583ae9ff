// Streams and listeners.
//
// Sending: segments of one turn leave in one sendmsg that never waits; only when the socket is full is the ring asked
// for POLLOUT. Receiving: one request in the ring, into a target and the peek region behind it; where the bytes go is
// decided in TypeScript. Sockets stay blocking (for the ring, O_NONBLOCK would mean -EAGAIN instead of waiting).
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>

#include "engine.h"

namespace twinbeat {
namespace {

constexpr uint64_t kIgnored = ~0ull;
constexpr int kListenBacklog = 128;
constexpr size_t kSegmentsPerCall = 128;
// Above this a receive waits for all of its bytes in the kernel instead of being woken for each part.
constexpr int kWaitAllBytes = 65536;
constexpr long long kAcceptPauseNs = 100'000'000;  // after EMFILE and its like: do not spin

int Resolve(const EndpointText& text, sockaddr_storage* out, socklen_t* bytes) {
  memset(out, 0, sizeof *out);
  if (text.family == 1) {
    auto* un = reinterpret_cast<sockaddr_un*>(out);
    if (text.host.size() >= sizeof un->sun_path) return -ENAMETOOLONG;
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, text.host.c_str(), text.host.size() + 1);
    *bytes = sizeof *un;
    return 0;
  }
  addrinfo hints{};
  hints.ai_family = text.family == 6 ? AF_INET6 : AF_INET;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  char port[16];
  snprintf(port, sizeof port, "%d", text.port);
  addrinfo* info = nullptr;
  if (getaddrinfo(text.host.c_str(), port, &hints, &info) != 0) return -EINVAL;
  memcpy(out, info->ai_addr, info->ai_addrlen);
  *bytes = info->ai_addrlen;
  freeaddrinfo(info);
  return 0;
}

void SetInt(int fd, int level, int name, int value) { setsockopt(fd, level, name, &value, sizeof value); }

// Buffer sizes beyond net.core.{r,w}mem_max take CAP_NET_ADMIN; without it the system's limit holds.
void SetBuffers(int fd, int sendBytes, int receiveBytes) {
  if (sendBytes > 0 &&
      setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &sendBytes, sizeof sendBytes) < 0) {
    SetInt(fd, SOL_SOCKET, SO_SNDBUF, sendBytes);
  }
  if (receiveBytes > 0 &&
      setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &receiveBytes, sizeof receiveBytes) < 0) {
    SetInt(fd, SOL_SOCKET, SO_RCVBUF, receiveBytes);
  }
}

}  // namespace

// ---- sending

void Engine::Send(const Command& c) {
  Handle* h = Find(c.handle, HandleKind::kStream);
  size_t slot = static_cast<size_t>(c.handle & (kMaxHandles - 1));
  if (h == nullptr) return Done(c.tag, -EBADF);
  if (!region_->Holds(c.at, c.length) || c.length <= 0) {
    backlog_[slot] -= c.length;
    return Done(c.tag, c.length == 0 ? 0 : -EFAULT);
  }
  if (h->sendError != 0) {
    backlog_[slot] -= c.length;
    return Done(c.tag, -h->sendError);
  }
  h->sends.push_back(Segment{c.at, c.length, c.tag});
  MarkDirty(h);
}

void Engine::FlushSends(Handle* h) {
  size_t slot = static_cast<size_t>(h->id & (kMaxHandles - 1));
  while (!h->sendBlocked && h->sendHead < h->sends.size()) {
    iovec iov[kSegmentsPerCall];
    size_t count = std::min(kSegmentsPerCall, h->sends.size() - h->sendHead);
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
      const Segment& s = h->sends[h->sendHead + i];
      size_t skip = i == 0 ? h->sendOffset : 0;
      iov[i] = iovec{Memory(s.at) + skip, static_cast<size_t>(s.length) - skip};
      total += iov[i].iov_len;
    }
    msghdr message{};
    message.msg_iov = iov;
    message.msg_iovlen = count;
    ssize_t n = sendmsg(h->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno != EAGAIN) {
      FailSends(h, errno);
      return;
    }
    size_t left = n < 0 ? 0 : static_cast<size_t>(n);
    backlog_[slot] -= static_cast<int32_t>(left);
    while (left > 0) {
      Segment& s = h->sends[h->sendHead];
      size_t rest = static_cast<size_t>(s.length) - h->sendOffset;
      if (left < rest) {
        h->sendOffset += left;
        break;
      }
      left -= rest;
      h->sendOffset = 0;
      h->sendHead++;
      Done(s.tag, s.length);
    }
    if (n < 0 || static_cast<size_t>(n) < total) {
      uint32_t index = NewOp(OpKind::kSendWait);
      ops_[index].slot = static_cast<int32_t>(slot);
      io_uring_sqe* sqe = Entry();
      sqe->opcode = IORING_OP_POLL_ADD;
      sqe->fd = h->fd;
      sqe->poll32_events = POLLOUT;
      sqe->user_data = index;
      h->sendOp = index;
      h->sendBlocked = true;
      h->inFlight++;
    }
  }
  if (h->sendHead == h->sends.size()) {
    h->sends.clear();
    h->sendHead = 0;
  } else if (h->sendHead > 1024) {
    h->sends.erase(h->sends.begin(), h->sends.begin() + static_cast<long>(h->sendHead));
    h->sendHead = 0;
  }
}

void Engine::FailSends(Handle* h, int error) {
  h->sendError = error;
  int32_t& backlog = backlog_[h->id & (kMaxHandles - 1)];
  backlog += static_cast<int32_t>(h->sendOffset);
  for (size_t i = h->sendHead; i < h->sends.size(); i++) {
    backlog -= h->sends[i].length;
    Done(h->sends[i].tag, -error);
  }
  h->sends.clear();
  h->sendHead = 0;
  h->sendOffset = 0;
}

// ---- receiving

void Engine::Receive(const Command& c) {
  Handle* h = Find(c.handle, HandleKind::kStream);
  if (h == nullptr) return;
  if (h->receiving || !region_->Holds(c.at, c.length) || !region_->Holds(c.at2, c.length2) ||
      c.length + c.length2 <= 0) {
    return Tell(EventKind::kReceived, h->id, kNoTag, -EFAULT);
  }
  uint32_t index = NewOp(OpKind::kReceive);
  Op& op = ops_[index];
  op.slot = h->id & (kMaxHandles - 1);
  op.at = c.at;
  op.length = c.length;
  op.at2 = c.at2;
  op.length2 = c.length2;
  h->receiving = true;
  h->waitOp = index;
  h->inFlight++;
  StartReceive(index);
}

void Engine::StartReceive(uint32_t index) {
  Op& op = ops_[index];
  Handle* h = handles_[static_cast<size_t>(op.slot)].get();
  io_uring_sqe* sqe = Entry();
  sqe->fd = h->fd;
  sqe->user_data = index;
  if (op.length > 0 && op.length2 > 0 && op.length <= kWaitAllBytes) {
    op.iov[0] = iovec{Memory(op.at), static_cast<size_t>(op.length)};
    op.iov[1] = iovec{Memory(op.at2), static_cast<size_t>(op.length2)};
    op.message = msghdr{};
    op.message.msg_iov = op.iov;
    op.message.msg_iovlen = 2;
    sqe->opcode = IORING_OP_RECVMSG;
    sqe->addr = reinterpret_cast<uint64_t>(&op.message);
    sqe->len = 1;
    return;
  }
  bool target = op.length > 0;
  sqe->opcode = IORING_OP_RECV;
  sqe->addr = reinterpret_cast<uint64_t>(Memory(target ? op.at : op.at2));
  sqe->len = static_cast<uint32_t>(target ? op.length : op.length2);
  if (target && op.length > kWaitAllBytes) sqe->msg_flags = MSG_WAITALL;
}

void Engine::ReceiveDone(uint32_t index, int result) {
  Op& op = ops_[index];
  Handle* h = handles_[static_cast<size_t>(op.slot)].get();
  if ((result == -EINTR || result == -EAGAIN) && !h->closing) return StartReceive(index);
  // The end of a stream says nothing of what broke it if a send has already taken that error.
  if (result == 0 && h->sendError != 0 && h->sendError != EPIPE) result = -h->sendError;
  FreeOp(index);
  h->receiving = false;
  h->inFlight--;
  Tell(EventKind::kReceived, h->id, kNoTag, result);
  if (h->closing) MaybeFinishClose(h);
}

bool Engine::StreamAlive(int32_t handle) {
  Handle* h = Find(handle, HandleKind::kStream);
  if (h == nullptr) return false;
  char byte;
  ssize_t n = recv(h->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

std::string Engine::PeerName(int32_t handle) {
  Handle* h = Find(handle, HandleKind::kStream);
  sockaddr_storage address{};
  socklen_t bytes = sizeof address;
  auto* any = reinterpret_cast<sockaddr*>(&address);
  if (h == nullptr || getpeername(h->fd, any, &bytes) < 0 || address.ss_family == AF_UNIX) return "";
  char host[NI_MAXHOST], port[NI_MAXSERV];
  if (getnameinfo(any, bytes, host, sizeof host, port, sizeof port,
                  NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return "";
  }
  return address.ss_family == AF_INET6 ? "[" + std::string(host) + "]:" + port
                                       : std::string(host) + ":" + port;
}

// ---- listening

int Engine::Listen(const EndpointText& at, int sendBytes, int receiveBytes) {
  sockaddr_storage address;
  socklen_t bytes;
  int error = Resolve(at, &address, &bytes);
  if (error != 0) return error;
  int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  if (at.family != 1) SetInt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (at.family == 6) SetInt(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
  SetBuffers(fd, sendBytes, receiveBytes);
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), bytes) < 0 ||
      listen(fd, kListenBacklog) < 0) {
    error = errno;
    close(fd);
    return -error;
  }
  Handle* h = NewHandle(HandleKind::kListener, fd);
  if (h == nullptr) {
    close(fd);
    return -EMFILE;
  }
  if (at.family == 1) h->unlinkPath = at.host;
  StartAccept(h);
  return h->id;
}

void Engine::StartAccept(Handle* h) {
  uint32_t index = NewOp(OpKind::kAccept);
  ops_[index].slot = h->id & (kMaxHandles - 1);
  h->waitOp = index;
  h->inFlight++;
  io_uring_sqe* sqe = Entry();
  sqe->opcode = IORING_OP_ACCEPT;
  sqe->fd = h->fd;
  sqe->accept_flags = SOCK_CLOEXEC;
  sqe->user_data = index;
}

void Engine::AcceptDone(uint32_t index, int result) {
  Handle* h = handles_[static_cast<size_t>(ops_[index].slot)].get();
  FreeOp(index);
  h->inFlight--;
  if (h->closing) {
    if (result >= 0) close(result);
    return MaybeFinishClose(h);
  }
  bool exhausted =
      result == -EMFILE || result == -ENFILE || result == -ENOMEM || result == -ENOBUFS;
  if (result >= 0) {
    SetInt(result, IPPROTO_TCP, TCP_NODELAY, 1);  // fails on a unix socket: as it should
    int32_t listener = h->id;
    Handle* stream = NewHandle(HandleKind::kStream, result);
    h = Find(listener);
    if (stream == nullptr) {
      close(result);
      exhausted = true;
    } else {
      Tell(EventKind::kAccepted, listener, kNoTag, stream->id);
    }
  }
  if (!exhausted) return StartAccept(h);
  uint32_t pause = NewOp(OpKind::kAcceptPause);
  Op& op = ops_[pause];
  op.slot = h->id & (kMaxHandles - 1);
  op.timeout[0] = 0;
  op.timeout[1] = kAcceptPauseNs;
  h->waitOp = pause;
  h->inFlight++;
  io_uring_sqe* sqe = Entry();
  sqe->opcode = IORING_OP_TIMEOUT;
  sqe->fd = -1;
  sqe->addr = reinterpret_cast<uint64_t>(op.timeout);
  sqe->len = 1;
  sqe->user_data = pause;
}

// ---- connecting

void Engine::Connect(const EndpointText& remote, const EndpointText* local, int timeoutMs,
                     int sendBytes, int receiveBytes, uint32_t tag) {
  uint32_t index = NewOp(OpKind::kConnect);
  Op& op = ops_[index];
  op.tag = tag;
  sockaddr_storage from;
  socklen_t fromBytes = 0;
  int error = Resolve(remote, &op.address, &op.addressBytes);
  if (error == 0 && local != nullptr) error = Resolve(*local, &from, &fromBytes);
  if (error == 0) {
    op.fd = socket(op.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (op.fd < 0) error = -errno;
  }
  if (error == 0) {
    if (remote.family != 1) SetInt(op.fd, IPPROTO_TCP, TCP_NODELAY, 1);
    SetBuffers(op.fd, sendBytes, receiveBytes);
    if (local != nullptr && bind(op.fd, reinterpret_cast<sockaddr*>(&from), fromBytes) < 0) {
      error = -errno;
    }
  }
  if (error != 0) {
    if (op.fd >= 0) close(op.fd);
    Done(tag, error);
    return FreeOp(index);
  }
  int ms = std::max(timeoutMs, 1);
  op.timeout[0] = ms / 1000;
  op.timeout[1] = (ms % 1000) * 1'000'000LL;
  io_uring_sqe* sqe = Entry(2);  // linked entries have to be submitted together
  sqe->opcode = IORING_OP_CONNECT;
  sqe->flags = IOSQE_IO_LINK;
  sqe->fd = op.fd;
  sqe->addr = reinterpret_cast<uint64_t>(&op.address);
  sqe->off = op.addressBytes;
  sqe->user_data = index;
  sqe = ring_.Next();
  sqe->opcode = IORING_OP_LINK_TIMEOUT;
  sqe->fd = -1;
  sqe->addr = reinterpret_cast<uint64_t>(op.timeout);
  sqe->len = 1;
  sqe->user_data = kIgnored;
}

void Engine::ConnectDone(uint32_t index, int result) {
  Op& op = ops_[index];
  if (result == -ECANCELED && op.flags == 0) result = -ETIMEDOUT;
  Handle* h = result == 0 ? NewHandle(HandleKind::kStream, op.fd) : nullptr;
  if (h == nullptr) close(op.fd);
  if (result == 0) result = h == nullptr ? -EMFILE : h->id;
  DoneWithHandle(op.tag, result);
  FreeOp(index);
}

}  // namespace twinbeat
