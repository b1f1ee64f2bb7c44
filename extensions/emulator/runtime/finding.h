// What the checks found. Findings that say the same of the same lines are one, counted.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "../msl/interface.h"
#include "memory.h"

namespace emulator {

// Who did it, where, and to what. Lines are either places or program counters, which the reader looks up.
struct Finding {
  std::string kind;
  std::string detail;
  const Region* region = nullptr;
  int64_t offset = 0;  // in the region, bytes
  unsigned bytes = 0;
  bool write = false, other_write = false;
  uintptr_t pc = 0, other_pc = 0;
  Place place = {nullptr, 0}, other_place = {nullptr, 0};
  uint32_t threadgroup = 0, thread = 0, other_threadgroup = 0, other_thread = 0;
  uint32_t lanes = 0, missing_lanes = 0;
  uint64_t times = 1;
};

class Findings {
 public:
  void add(const Finding& finding);
  const std::vector<Finding>& all() const { return all_; }
  uint64_t untold() const { return untold_; }

 private:
  static constexpr std::size_t MOST = 64;
  std::vector<Finding> all_;
  uint64_t untold_ = 0;
};

}  // namespace emulator
