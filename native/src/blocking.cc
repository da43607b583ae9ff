#include "blocking.h"

#include <errno.h>
#include <linux/fs.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace twinbeat {

BlockingThread::~BlockingThread() {
  if (!thread_.joinable()) return;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  wanted_.notify_one();
  thread_.join();
}

void BlockingThread::Discard(uint32_t op, int fd, uint64_t offset, uint64_t length) {
  std::lock_guard<std::mutex> lock(mutex_);
  jobs_.push_back(Job{op, fd, {offset, length}});
  if (!thread_.joinable()) {
    // Signals are the main thread's: the new thread inherits a mask that blocks them all.
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    thread_ = std::thread([this] { Run(); });
    pthread_sigmask(SIG_SETMASK, &old, nullptr);
  }
  wanted_.notify_one();
}

void BlockingThread::Take(std::vector<std::pair<uint32_t, int>>* out) {
  std::lock_guard<std::mutex> lock(mutex_);
  out->insert(out->end(), done_.begin(), done_.end());
  done_.clear();
}

void BlockingThread::Run() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    wanted_.wait(lock, [this] { return stop_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    Job job = jobs_.front();
    jobs_.pop_front();
    lock.unlock();
    int result = ioctl(job.fd, BLKDISCARD, job.range) < 0 ? -errno : 0;
    lock.lock();
    done_.emplace_back(job.op, result);
    uint64_t one = 1;
    if (write(wakeFd_, &one, sizeof one) < 0) {
      // The counter is full: then a wake-up is due anyway.
    }
  }
}

}  // namespace twinbeat
