// Calls that have nothing to do with the engine's operations: mounts, descriptors, memory. All give >= 0 or -errno.
#pragma once
#include <string>
#include <vector>

namespace twinbeat {

int MountFuse(int descriptor, const std::string& path, const std::string& source);
int Unmount(const std::string& path, bool lazy);
int OpenDescriptor(const std::string& path, int flags);
int CloseDescriptor(int descriptor);
int LockMemory();
int SetIoFlusher();
int SetCloseOnExec(int descriptor);
// Becomes another program, same process number; returns only when that is not possible.
int Exec(const std::vector<std::string>& argv);
// 0 when an engine can be made here; otherwise -errno, and `why` names the step.
int HaveIoUring(const char** why);

}  // namespace twinbeat
