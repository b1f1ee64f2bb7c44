#include "site.h"

#include <cstdio>
#include <cstdlib>

namespace emulator {

uint16_t Sites::look_up(uintptr_t pc) {
  for (std::size_t i = 0; i < all_.size(); i++)
    if (all_[i].pc == pc) return static_cast<uint16_t>(i);
  if (all_.size() == UINT16_MAX) {
    std::fprintf(stderr, "emulator: the kernel has more than 65,535 memory accesses\n");
    std::exit(3);
  }
  all_.emplace_back();
  all_.back().pc = pc;
  return static_cast<uint16_t>(all_.size() - 1);
}

}  // namespace emulator
