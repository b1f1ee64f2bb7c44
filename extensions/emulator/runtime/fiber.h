// A fiber: a call stack of its own, run until it gives the processor back.
//
// Every thread of a Metal threadgroup runs on one. A barrier is then a switch to the scheduler, which costs
// some 15 ns; an operating system's thread would cost a thousand times that.
#pragma once

#include <cstddef>

namespace emulator {

constexpr std::size_t STACK_BYTES = 256 << 10;  // private memory of one Metal thread

class Fiber {
 public:
  explicit Fiber(void (*body)());  // body never returns: it ends by switching away
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;
  ~Fiber();

  void enter();  // from the scheduler: run the fiber until it leaves
  void leave();  // from the fiber: back to the scheduler

  // Whether an address lies in this fiber's stack, or in the page below it that catches an overflow.
  bool owns(const void* address) const;

 private:
  char* memory_;
  void* stack_pointer_;
};

}  // namespace emulator
