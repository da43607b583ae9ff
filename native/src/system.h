// Calls that have nothing to do with the engine's operations: mounts, descriptors, memory. All give >= 0 or -errno.
#pragma once
#include <string>
#include <vector>

namespace twinbeat {

int MountFuse(int descriptor, const std::string& path, const std::string& source);
int Unmount(const std::string& path, bool lazy);
int OpenDescriptor(const std::string& path, int flags);
int CloseDescriptor(int descriptor);
// The files that are mapped and not written to (code, constants) are read into memory and stay there. Not the data: V8 gives pages
// back by madvise, which the kernel refuses for locked memory, and then V8 aborts. 0, or the first -errno.
int LockCode();
// The calling thread at SCHED_FIFO; neither its children nor threads that it makes from now on. 0 or -errno.
int SetRealtime(int priority);
// _exit(2): no thread of this process is waited for.
[[noreturn]] void ExitNow(int status);
int SetIoFlusher();
struct Credentials {
  int pid;
  unsigned uid;
  unsigned gid;
};
// Who connected to this UNIX socket, as the kernel noted it then (SO_PEERCRED). 0 or -errno.
int PeerCredentials(int socket, Credentials* out);
struct InterfaceAddress {
  std::string name;
  int family;             // 4, 6; 0: the interface is there
  std::string address;    // "" for family 0
  std::string netmask;    // of family 4
  std::string broadcast;  // of family 4, "" when it has none
};
// Every interface, also one that is down or whose cable is out, and every address. 0 or -errno.
int Interfaces(std::vector<InterfaceAddress>* out);
int SetCloseOnExec(int descriptor);
// Becomes another program, same process number; returns only when that is not possible.
int Exec(const std::vector<std::string>& argv);
// A new file of `bytes` zeros (mode 0600), shared memory of this process from now on: what is written there outlives it.
// All of its space is reserved: writing to the memory never fails. 0 or -errno.
int MapFile(const std::string& path, size_t bytes, void** base);
void UnmapFile(void* base, size_t bytes);
// A file without a name and without a file system: no full disk keeps anybody from writing to it. Its descriptor or -errno.
int MemoryFile();
// 0 when an engine can be made here; otherwise -errno, and `why` names the step.
int HaveIoUring(const char** why);

}  // namespace twinbeat
