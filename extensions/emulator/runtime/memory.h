// The memory that kernels share: buffers and threadgroup variables, each a region with empty guards around it.
//
// All regions lie in one reserved range of addresses, so that one comparison tells them from private memory, and
// an access that misses its region lands in a guard, where it does no harm and still says whose it was.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace emulator {

// An access, as the next one to the same bytes is compared with it. `threadgroup` 0: there was none.
struct Mark {
  uint32_t threadgroup = 0;  // number + 1
  uint16_t thread = 0;
  uint16_t site = 0;
  uint32_t barriers = 0;                           // that the threadgroup had passed
  uint32_t simd_barriers : 31 = 0, atomic : 1 = 0;  // that the SIMD-group had passed
};

// What is known of one granule: its last write, and two reads since that tell the most.
struct Cell {
  Mark write, read, other_read;
};

struct Tally {
  uint64_t bytes_read = 0, bytes_written = 0;
  uint64_t simd_accesses = 0, lines = 0, least_lines = 0;  // of SIMD-groups; cache lines they touched, and had to
};

struct Region {
  enum Space { DEVICE, CONSTANT, THREADGROUP };

  std::string name;
  Space space;
  char* data;
  std::size_t bytes;
  unsigned element_bytes;
  bool initialised;           // before the kernel began
  unsigned granule_bytes;     // that one cell stands for
  std::vector<Cell> cells;    // empty if nothing is checked
  Tally tally;
  int number;

  bool contains(const char* from, std::size_t n) const { return from >= data && from + n <= data + bytes; }
};

class Memory {
 public:
  // `bytes`: the sum over the buffers, which are `count`.
  Memory(std::size_t bytes, int count, bool checked);

  Region& add(const std::string& name, Region::Space space, std::size_t bytes, unsigned element_bytes,
              bool initialised);
  // The region, or the one in whose guard the address lies; null if it is no shared memory at all.
  Region* find(const void* address) {
    const std::size_t offset = static_cast<const char*>(address) - base_;
    if (offset >= used_) return nullptr;
    return regions_[owner_[offset / CHUNK]];
  }
  const std::vector<Region*>& regions() const { return regions_; }
  std::size_t threadgroup_bytes() const { return threadgroup_bytes_; }

 private:
  static constexpr std::size_t CHUNK = 64 << 10, GUARD = 512 << 10, THREADGROUP_ROOM = 256 << 20;

  char* base_;
  std::size_t reserved_, used_ = 0, threadgroup_bytes_ = 0;
  bool checked_;
  std::vector<Region*> regions_;
  std::vector<uint16_t> owner_;  // of each chunk
};

}  // namespace emulator
