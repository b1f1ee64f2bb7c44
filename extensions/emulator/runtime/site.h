// Where in the program memory is accessed: one site an instruction, known by its program counter.
#pragma once

#include <cstdint>
#include <vector>

#include "memory.h"

namespace emulator {

// The same access of a SIMD-group's lanes: what each lane touched the first time it came by, the second time, ...
struct LaneAccesses {
  uint8_t count = 0;
  uint16_t bytes[32];
  uint64_t address[32];
  Region* region;
};

struct Site {
  uintptr_t pc;
  std::vector<Tally> by_region;
  uint32_t visits[32] = {};  // of each lane of the SIMD-group that runs, since it was last folded
  std::vector<LaneAccesses> accesses;
  bool pending = false;

  Tally& tally(const Region& region) {
    if (by_region.size() <= static_cast<std::size_t>(region.number)) by_region.resize(region.number + 1);
    return by_region[region.number];
  }
};

class Sites {
 public:
  uint16_t at(uintptr_t pc) {
    uint16_t& known = table_[(pc ^ pc >> 12) & (TABLE - 1)];
    if (known < all_.size() && all_[known].pc == pc) return known;
    return known = look_up(pc);
  }
  Site& operator[](uint16_t i) { return all_[i]; }
  std::vector<Site>& all() { return all_; }

 private:
  static constexpr std::size_t TABLE = 4096;
  uint16_t look_up(uintptr_t pc);
  std::vector<Site> all_;
  uint16_t table_[TABLE] = {};
};

}  // namespace emulator
