// Work for several threads, as the kernels see it.
#pragma once

#include <type_traits>

namespace course {

// Runs tasks on some threads. Kernels get one passed in and own no threads themselves.
class Parallel {
 public:
  // Task number `task`, on the thread with number `worker`.
  using Task = void (*)(void* context, int task, int worker);

  // Threads that may run tasks at the same time; their numbers are 0 to workers() - 1.
  virtual int workers() const = 0;

  // Calls run(context, task, worker) for every task from 0 to tasks - 1, each once, in any order and
  // on any thread. Returns when all are done, and what they wrote can be read.
  virtual void run(int tasks, Task run, void* context) = 0;

  // The same with anything that can be called as body(task, worker).
  template <class Body>
  void for_each(int tasks, Body&& body) {
    using Callable = std::remove_reference_t<Body>;
    Task call = [](void* context, int task, int worker) {
      (*static_cast<Callable*>(context))(task, worker);
    };
    run(tasks, call, &body);
  }

 protected:
  ~Parallel() = default;
};

}  // namespace course
