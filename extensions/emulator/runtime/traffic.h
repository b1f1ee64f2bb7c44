// The profiler: bytes moved, and how well the accesses of a SIMD-group fall together.
//
// A GPU serves a SIMD-group's load in whole cache lines. The accesses that its lanes make at the same site, each
// for the n-th time since the last barrier or SIMD-group operation, count as one access of the SIMD-group; the lines
// that it touches are compared with the least that could hold the bytes it asked for.
#pragma once

#include <cstdint>
#include <vector>

#include "memory.h"
#include "site.h"

namespace emulator {

constexpr uint64_t LINE_BYTES = 128;

struct Touch {
  uint32_t threadgroup, thread, bytes;
  uint64_t offset;
  uint16_t site;
  uint8_t region;
  bool write;
};

class Traffic {
 public:
  Traffic(Sites& sites, std::size_t touches_wanted) : sites_(sites), wanted_(touches_wanted) {}

  void access(Region& region, uint16_t site, const char* address, unsigned bytes, bool write, uint32_t threadgroup,
              uint32_t thread);
  void fold();  // the SIMD-group that ran has come to a barrier, an operation or its end

  uint64_t threadgroup_barriers = 0, simdgroup_barriers = 0, simd_operations = 0, matrix_operations = 0;
  const std::vector<Touch>& touches() const { return touches_; }
  bool touches_complete() const { return complete_; }

 private:
  void fold(Site& site);
  void count(Site& site, const LaneAccesses& lanes);

  Sites& sites_;
  std::size_t wanted_;
  bool complete_ = true;
  std::vector<Touch> touches_;
  std::vector<uint16_t> pending_;
};

}  // namespace emulator
