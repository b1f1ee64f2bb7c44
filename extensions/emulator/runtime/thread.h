// A thread of the threadgroup that runs.
#pragma once

#include <cstdint>

#include "../msl/interface.h"
#include "fiber.h"

namespace emulator {

struct Thread {
  enum State { READY, AT_SIMDGROUP, AT_THREADGROUP, DONE };

  State state = READY;
  bool returned = false;  // left by a `return`, not by reaching the end
  Fiber* fiber = nullptr;
  uint32_t index = 0;  // in the threadgroup
  Position at;

  // What it waits for.
  Place place;
  const char* operation;
  int flags;
  bool whole;
  Resolve resolve;  // null: a barrier
  const void* in;
  void* out;

  uint32_t lane() const { return index % 32; }
  uint32_t simdgroup() const { return index / 32; }
};

}  // namespace emulator
