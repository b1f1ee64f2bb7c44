// Threads for checking kernels, whose workings do not depend on the moment.
#pragma once

#include <functional>
#include <thread>
#include <vector>

#include "../../reference/parallel.h"

namespace course {

// Task t goes to worker t % workers, always. Counts what was asked of it.
class Assigned : public Parallel {
 public:
  explicit Assigned(int workers) : workers_(workers) {}
  int workers() const override { return workers_; }
  int most_tasks = 0;  // in one call of run()

 protected:
  ~Assigned() = default;
  const int workers_;
};

// One task after the other on this thread, the last first: for finding accesses that are wrong in any case.
class InTurn final : public Assigned {
 public:
  using Assigned::Assigned;
  void run(int tasks, Task run, void* context) override {
    most_tasks = tasks > most_tasks ? tasks : most_tasks;
    for (int task = tasks - 1; task >= 0; task--) run(context, task, task % workers_);
  }
};

// Every worker a new thread: for finding races. Nothing but the end of run() orders what two workers do, so
// the sanitizer sees a race whether or not the two happened to run at the same time.
class AtOnce final : public Assigned {
 public:
  using Assigned::Assigned;
  void run(int tasks, Task run, void* context) override {
    most_tasks = tasks > most_tasks ? tasks : most_tasks;
    std::vector<std::thread> threads;
    for (int worker = 0; worker < workers_ && worker < tasks; worker++) {
      threads.emplace_back([=, this] {
        for (int task = worker; task < tasks; task += workers_) run(context, task, worker);
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
};

}  // namespace course
