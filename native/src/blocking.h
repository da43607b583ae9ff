// A thread for the few calls that io_uring cannot make (BLKDISCARD). It starts with the first job.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace twinbeat {

class BlockingThread {
 public:
  // `wakeFd` is an eventfd that is written when results are there to be taken.
  explicit BlockingThread(int wakeFd) : wakeFd_(wakeFd) {}
  ~BlockingThread();
  BlockingThread(const BlockingThread&) = delete;
  BlockingThread& operator=(const BlockingThread&) = delete;

  void Discard(uint32_t op, int fd, uint64_t offset, uint64_t length);
  // Appends (op, result) of what is done.
  void Take(std::vector<std::pair<uint32_t, int>>* out);

 private:
  struct Job {
    uint32_t op;
    int fd;
    uint64_t range[2];
  };
  void Run();

  const int wakeFd_;
  std::mutex mutex_;
  std::condition_variable wanted_;
  std::deque<Job> jobs_;
  std::vector<std::pair<uint32_t, int>> done_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace twinbeat
