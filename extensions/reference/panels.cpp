#include "panels.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace course {

namespace {

constexpr size_t PAGE = size_t{2} << 20, SLAB = 16 * PAGE;

// Memory in pages of 2 MiB where the system has them. With pages of 4 KiB, the processor has to look up twenty thousand
// addresses while it reads a small model's weights, and stops reading ahead at the end of each.
std::shared_ptr<uint8_t> new_slab(size_t bytes) {
  const size_t whole = (bytes + PAGE - 1) / PAGE * PAGE;
  void* memory = std::aligned_alloc(PAGE, whole);
  if (memory == nullptr) throw std::bad_alloc();
#if defined(__linux__)
  madvise(memory, whole, MADV_HUGEPAGE);  // advice: that it is not taken is no error
#endif
  return {static_cast<uint8_t*>(memory), std::free};
}

// Most matrices are smaller than a page: they share slabs, in the order in which they are made, which is mostly that in
// which they are read. A slab goes when its last matrix goes.
std::shared_ptr<uint8_t> allocate(size_t bytes) {
  static std::mutex lock;
  static std::weak_ptr<uint8_t> slab;
  static size_t used = 0;
  const size_t whole = (bytes + 63) / 64 * 64;
  if (whole > SLAB / 4) return new_slab(whole);
  std::lock_guard guard(lock);
  std::shared_ptr<uint8_t> shared = slab.lock();
  if (shared == nullptr || used + whole > SLAB) {
    slab = shared = new_slab(SLAB);
    used = 0;
  }
  uint8_t* here = shared.get() + used;
  used += whole;
  return {std::move(shared), here};
}

}  // namespace

Panels::Panels(const QuantizedMatrix& w, Parallel& parallel)
    : rows_(w.rows), columns_(w.columns), group_size_(w.group_size), bits_(w.bits), scale_type_(w.scale_type) {
  if (rows_ == 0) return;
  memory_ = allocate(bytes());
  parallel.for_each(count(), [&](int panel, int) { lay_out(w, panel); });
}

void Panels::lay_out(const QuantizedMatrix& w, int panel) {
  uint8_t* to = memory_.get() + panel * panel_bytes();
  std::memset(to, 0, panel_bytes());
  const int first = panel * PANEL_ROWS, present = std::min(PANEL_ROWS, rows_ - first);
  const size_t scale_bytes = bytes_of(scale_type_);
  for (int row = 0; row < present; row++) {
    // The words' bytes hold the weights in order, since their lowest bits come first: two, or one, in each.
    const auto* bytes = reinterpret_cast<const uint8_t*>(w.words + static_cast<size_t>(first + row) * w.words_per_row());
    auto weight = [&](int k) { return bits_ == 8 ? bytes[k] : bytes[k / 2] >> k % 2 * 4 & 15; };
    for (int group = 0; group < groups(); group++) {
      uint8_t* here = to + static_cast<size_t>(group) * group_bytes();
      const size_t of = (static_cast<size_t>(first + row) * groups() + group) * scale_bytes;
      std::memcpy(here + row * scale_bytes, static_cast<const uint8_t*>(w.scales) + of, scale_bytes);
      std::memcpy(here + (PANEL_ROWS + row) * scale_bytes, static_cast<const uint8_t*>(w.biases) + of, scale_bytes);
      here += scales_bytes();
      for (int c = 0; c < chunks_a_group(); c++, here += chunk_bytes()) {
        const int k = (group * chunks_a_group() + c) * CHUNK;
        for (int i = 0; i < CHUNK; i++) {
          const int line = i / 4, byte = 4 * row + i % 4;
          if (bits_ == 8) {
            here[line * LINE + byte] = weight(k + i);
          } else {
            here[line / 2 * LINE + byte] |= weight(k + i) << line % 2 * 4;
          }
        }
      }
    }
  }
}

}  // namespace course
