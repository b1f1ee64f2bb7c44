// The threads that kernels run on.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include <sys/types.h>

#include "../reference/parallel.h"

namespace course {

// A fork-join pool. The caller of run() works too; the others are woken, or are still awake from the
// call before: a sleeping thread takes several microseconds to wake, longer than many kernels run, so a
// thread that ran out of work looks for more for a while before it sleeps.
//
// Each thread starts with an equal run of neighbouring tasks, whose memory it then reads in order, and takes
// them one by one; when its own are done it helps with another's. run() waits only for threads that have
// come. A thread that the system has set aside, or that is gone, delays nobody:
//  - several threads may call run() at once; one gets the pool, the others work alone meanwhile;
//  - a forked child has none of its parent's threads, and computes on one.
class ThreadPool final : public Parallel {
 public:
  // `threads` counts the caller.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;

  int workers() const override { return threads_; }
  void run(int tasks, Task run, void* context) override;

 private:
  void work(int worker);
  void take_tasks(int worker);

  const int threads_;
  const pid_t process_;
  std::mutex caller_;  // held by the one run() that has the threads

  // The present job. Written before it opens, read only by threads inside it.
  Task task_ = nullptr;
  void* context_ = nullptr;
  // One thread's run of tasks. In a cache line of its own: the others seldom look at it.
  struct alignas(64) Run {
    std::atomic<int> next{0};
    int end = 0;
  };
  std::vector<Run> runs_;

  // Threads inside the job, and whether more may enter.
  static constexpr uint32_t OPEN = 1u << 31;
  std::atomic<uint32_t> inside_{0};
  std::atomic<uint32_t> jobs_{0};  // changes when a job opens: what idle threads watch
  std::atomic<uint32_t> left_{0};  // threads that have ended
  std::atomic<bool> stop_{false};
};

// The pool that MLX's operations run on, made when it is first asked for.
std::shared_ptr<ThreadPool> shared_pool();

// From now on shared_pool() has this many threads. Work under way keeps the pool it has.
void set_threads(int threads);

// Threads worth using: one for each physical core that this process may run on. On a Mac only the
// performance cores; in a container no more than its CPU quota. $COURSE_NUM_THREADS overrides.
//
// Raises std::invalid_argument where $COURSE_NUM_THREADS is not a number from 1 to 1024.
int default_threads();

}  // namespace course
