#include "memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace emulator {

Memory::Memory(std::size_t bytes, int count, bool checked) : checked_(checked) {
  reserved_ = bytes + count * (2 * GUARD + CHUNK) + THREADGROUP_ROOM;
  const int flags = MAP_PRIVATE | MAP_ANON | MAP_NORESERVE;
  base_ = static_cast<char*>(mmap(nullptr, reserved_, PROT_READ | PROT_WRITE, flags, -1, 0));
  if (base_ == MAP_FAILED) {
    std::perror("emulator: no room for the kernel's buffers");
    std::exit(3);
  }
}

Region& Memory::add(const std::string& name, Region::Space space, std::size_t bytes, unsigned element_bytes,
                    bool initialised) {
  const std::size_t room = 2 * GUARD + (bytes + CHUNK - 1) / CHUNK * CHUNK;
  if (used_ + room > reserved_) {
    std::fprintf(stderr, "emulator: no room for threadgroup memory `%s`\n", name.c_str());
    std::exit(3);
  }
  auto* region = new Region{name, space, base_ + used_ + GUARD, bytes, element_bytes, initialised, 1, {}, {}, 0};
  region->number = static_cast<int>(regions_.size());
  regions_.push_back(region);
  used_ += room;
  owner_.resize(used_ / CHUNK, static_cast<uint16_t>(region->number));
  if (space == Region::THREADGROUP) threadgroup_bytes_ += (bytes + 15) / 16 * 16;
  if (checked_) {
    const bool whole = element_bytes == 2 || element_bytes % 4 == 0;
    region->granule_bytes = whole ? std::min(element_bytes, 4u) : 1;
    region->cells.resize((bytes + region->granule_bytes - 1) / region->granule_bytes);
  }
  return *region;
}

}  // namespace emulator
