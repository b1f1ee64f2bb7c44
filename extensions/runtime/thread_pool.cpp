#include "thread_pool.h"

#include <unistd.h>

#include <chrono>
#include <thread>

namespace course {

namespace {

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb");
#endif
}

// Waits until `value` is no longer `old`: looks, then looks and lets other threads run, then sleeps.
void wait_for_change(std::atomic<uint32_t>& value, uint32_t old) {
  using clock = std::chrono::steady_clock;
  constexpr auto SPIN = std::chrono::microseconds(20), YIELD = std::chrono::microseconds(1000);
  auto changed = [&] { return value.load(std::memory_order_acquire) != old; };
  const auto start = clock::now();
  for (;;) {
    for (int i = 0; i < 64; i++) {
      if (changed()) return;
      pause();
    }
    const auto waited = clock::now() - start;
    if (waited > YIELD) break;
    if (waited > SPIN) std::this_thread::yield();
  }
  while (!changed()) value.wait(old, std::memory_order_acquire);
}

}  // namespace

ThreadPool::ThreadPool(int threads) : threads_(threads), process_(getpid()), runs_(threads) {
  // Detached: a forked child inherits the pool but not the threads, and could not join them.
  for (int worker = 1; worker < threads; worker++) {
    std::thread([this, worker] { work(worker); }).detach();
  }
}

ThreadPool::~ThreadPool() {
  if (getpid() != process_) return;  // the threads are the parent's
  stop_.store(true);
  jobs_.fetch_add(1);
  jobs_.notify_all();
  const uint32_t others = threads_ - 1;
  for (uint32_t left; (left = left_.load()) != others;) left_.wait(left);
}

void ThreadPool::run(int tasks, Task run, void* context) {
  std::unique_lock caller(caller_, std::try_to_lock);
  if (tasks < 2 || threads_ < 2 || !caller.owns_lock()) {
    // A number of its own for each caller would be needed if one pool's callers shared scratch memory;
    // they do not.
    for (int task = 0; task < tasks; task++) run(context, task, 0);
    return;
  }
  task_ = run;
  context_ = context;
  for (int i = 0; i < threads_; i++) {
    runs_[i].next.store(static_cast<int64_t>(tasks) * i / threads_, std::memory_order_relaxed);
    runs_[i].end = static_cast<int64_t>(tasks) * (i + 1) / threads_;
  }
  inside_.store(OPEN, std::memory_order_release);
  jobs_.fetch_add(1, std::memory_order_release);
  jobs_.notify_all();

  take_tasks(0);
  // Close the door, then wait for those inside. Threads that come later find it closed.
  uint32_t inside = inside_.fetch_and(~OPEN, std::memory_order_acq_rel) & ~OPEN;
  while (inside != 0) {
    wait_for_change(inside_, inside);
    inside = inside_.load(std::memory_order_acquire);
  }
}

void ThreadPool::take_tasks(int worker) {
  for (int i = 0; i < threads_; i++) {
    Run& run = runs_[(worker + i) % threads_];
    while (run.next.load(std::memory_order_relaxed) < run.end) {
      const int task = run.next.fetch_add(1, std::memory_order_relaxed);
      if (task < run.end) task_(context_, task, worker);
    }
  }
}

void ThreadPool::work(int worker) {
  uint32_t seen = 0;
  for (;;) {
    wait_for_change(jobs_, seen);
    seen = jobs_.load(std::memory_order_acquire);
    if (stop_.load()) break;
    uint32_t inside = inside_.load(std::memory_order_relaxed);
    while (inside & OPEN) {
      if (inside_.compare_exchange_weak(inside, inside + 1, std::memory_order_acq_rel,
                                        std::memory_order_relaxed)) {
        take_tasks(worker);
        const uint32_t before = inside_.fetch_sub(1, std::memory_order_acq_rel);
        if (before == 1) inside_.notify_one();  // closed, and this was the last
        break;
      }
    }
  }
  left_.fetch_add(1);
  left_.notify_all();
}

}  // namespace course
