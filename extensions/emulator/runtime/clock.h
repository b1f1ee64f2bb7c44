// Barriers passed, and which of them last ordered which memory. An access made at time t is ordered before now if
// a barrier for its kind of memory came after it.
#pragma once

#include <cstdint>

#include "../msl/interface.h"
#include "memory.h"

namespace emulator {

struct Clock {
  uint32_t now = 0, device = 0, threadgroup = 0;

  void barrier(int flags) {
    now++;
    if (flags & MEM_DEVICE) device = now;
    if (flags & MEM_THREADGROUP) threadgroup = now;
  }
  uint32_t ordered(Region::Space space) const { return space == Region::THREADGROUP ? threadgroup : device; }
};

}  // namespace emulator
