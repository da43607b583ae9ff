#include "system.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ring.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

namespace twinbeat {

namespace {

std::string AddressText(const sockaddr* address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address == nullptr) return text;
  if (address->sa_family == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(address)->sin_addr, text, sizeof text);
  } else if (address->sa_family == AF_INET6) {
    inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr, text,
              sizeof text);
  }
  return text;
}

}  // namespace

int Interfaces(std::vector<InterfaceAddress>* out) {
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) < 0) return -errno;
  for (const ifaddrs* i = list; i != nullptr; i = i->ifa_next) {
    int family = i->ifa_addr == nullptr ? AF_UNSPEC : i->ifa_addr->sa_family;
    if (family == AF_INET) {
      bool has_broadcast = (i->ifa_flags & IFF_BROADCAST) != 0;
      out->push_back({i->ifa_name, 4, AddressText(i->ifa_addr), AddressText(i->ifa_netmask),
                      has_broadcast ? AddressText(i->ifa_broadaddr) : ""});
    } else if (family == AF_INET6) {
      out->push_back({i->ifa_name, 6, AddressText(i->ifa_addr), "", ""});
    } else {
      out->push_back({i->ifa_name, 0, "", "", ""});
    }
  }
  freeifaddrs(list);
  return 0;
}

int PeerCredentials(int socket, Credentials* out) {
  ucred found = {};
  socklen_t length = sizeof found;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &found, &length) < 0) return -errno;
  // What is no UNIX socket, or has no peer, gives nobody.
  if (found.pid == 0 && found.uid == static_cast<uid_t>(-1)) return -ENOTCONN;
  *out = {found.pid, found.uid, found.gid};
  return 0;
}

int MountFuse(int descriptor, const std::string& path, const std::string& source) {
  // The root is a regular file; allow_other, since the loop device and root's tools use it.
  char options[128];
  snprintf(options, sizeof options, "fd=%d,rootmode=100000,user_id=0,group_id=0,allow_other",
           descriptor);
  return mount(source.c_str(), path.c_str(), "fuse", MS_NOSUID | MS_NODEV, options) < 0 ? -errno
                                                                                        : 0;
}

int Unmount(const std::string& path, bool lazy) {
  return umount2(path.c_str(), lazy ? MNT_DETACH : 0) < 0 ? -errno : 0;
}

int OpenDescriptor(const std::string& path, int flags) {
  int fd = open(path.c_str(), flags | O_CLOEXEC, 0600);
  return fd < 0 ? -errno : fd;
}

int CloseDescriptor(int descriptor) { return close(descriptor) < 0 ? -errno : 0; }

int LockCode() {
  FILE* maps = fopen("/proc/self/maps", "re");
  if (maps == nullptr) return -errno;
  int error = 0;
  char line[4096];
  while (fgets(line, sizeof line, maps) != nullptr) {
    unsigned long from = 0, to = 0, inode = 0;
    char rights[5] = "";
    if (sscanf(line, "%lx-%lx %4s %*s %*s %lu", &from, &to, rights, &inode) != 4) continue;
    if (inode == 0 || rights[0] != 'r' || rights[1] == 'w' || rights[3] != 'p') continue;
    if (mlock(reinterpret_cast<void*>(from), to - from) < 0 && error == 0) error = -errno;
  }
  fclose(maps);
  return error;
}

int SetRealtime(int priority) {
  sched_param param = {};
  param.sched_priority = priority;
  return sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &param) < 0 ? -errno : 0;
}

void ExitNow(int status) { _exit(status); }

int SetIoFlusher() { return prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) < 0 ? -errno : 0; }

int SetCloseOnExec(int descriptor) {
  int flags = fcntl(descriptor, F_GETFD);
  if (flags < 0) return -errno;
  return fcntl(descriptor, F_SETFD, flags | FD_CLOEXEC) < 0 ? -errno : 0;
}

int Exec(const std::vector<std::string>& argv) {
  std::vector<char*> words;
  for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  // Node marks its standard descriptors close-on-exec, too: without them the successor would log into /dev/null.
  for (int descriptor = 0; descriptor <= 2; descriptor++) {
    int flags = fcntl(descriptor, F_GETFD);
    if (flags >= 0) fcntl(descriptor, F_SETFD, flags & ~FD_CLOEXEC);
  }
  execv(words[0], words.data());
  return -errno;
}

int MapFile(const std::string& path, size_t bytes, void** base) {
  int fd = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) return -errno;
  // A page for which there is no space when it is touched would be SIGBUS.
  int error = -posix_fallocate(fd, 0, static_cast<off_t>(bytes));
  void* map = MAP_FAILED;
  if (error == 0) {
    map = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (map == MAP_FAILED) error = -errno;
  }
  close(fd);
  if (error != 0) {
    unlink(path.c_str());
    return error;
  }
  // Best effort: who writes there must not wait for a page to be swapped in.
  mlock(map, bytes);
  madvise(map, bytes, MADV_DONTFORK);
  *base = map;
  return 0;
}

void UnmapFile(void* base, size_t bytes) { munmap(base, bytes); }

int MemoryFile() {
  int fd = memfd_create("twinbeat", MFD_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

int HaveIoUring(const char** why) {
  Ring ring;
  int error = ring.Setup(4, why);
  return error != 0 ? error : ring.CheckOperations(why);
}

}  // namespace twinbeat
