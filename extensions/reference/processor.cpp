#include "processor.h"

#include <algorithm>
#include <atomic>

#include "vector.h"

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace course {

namespace {

#if defined(__x86_64__)

// Numbers and bits: Intel's Software Developer's Manual, volume 2, CPUID.
bool has(unsigned leaf, unsigned part, int register_number, int bit) {
  unsigned registers[4] = {};
  if (!__get_cpuid_count(leaf, part, &registers[0], &registers[1], &registers[2], &registers[3])) return false;
  return registers[register_number] >> bit & 1;
}
constexpr int EAX = 0, ECX = 2, EDX = 3;

// Only for vectors of the width that the kernels are translated for.
#if defined(__AVX512F__)
constexpr bool WIDE = VECTOR_BYTES == 64;
#else
constexpr bool WIDE = false;
#endif
#if defined(__AVX__)
constexpr bool HALF_AS_WIDE = VECTOR_BYTES == 32;
#else
constexpr bool HALF_AS_WIDE = false;
#endif

bool has_dot() {
  return (WIDE && has(7, 0, ECX, 11)) ||        // AVX512_VNNI
         (HALF_AS_WIDE && has(7, 1, EAX, 4));  // AVX-VNNI
}

// The tiles' 8 KiB of registers make every thread's saved state larger, so a process has to ask Linux for them first:
// https://docs.kernel.org/arch/x86/xstate.html
bool has_tiles() {
#if defined(__linux__)
  constexpr int ARCH_REQ_XCOMP_PERM = 0x1023, TILE_DATA = 18;
  const bool there = WIDE && has(7, 0, EDX, 24) && has(7, 0, EDX, 25);  // AMX-TILE, AMX-INT8
  return there && syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0;
#else
  return false;
#endif
}

ByteProducts look() {
  if (!has_dot()) return ByteProducts::spelt_out;
  return has_tiles() ? ByteProducts::tiles : ByteProducts::dot;
}

#elif defined(__aarch64__) && defined(__ARM_FEATURE_DOTPROD)

// The compiler was told that sdot is there. Every Mac with Apple's own processor has it.
ByteProducts look() { return ByteProducts::dot; }

#else

ByteProducts look() { return ByteProducts::spelt_out; }

#endif

std::atomic<ByteProducts> most{ByteProducts::tiles};

}  // namespace

ByteProducts best_byte_products() {
  static const ByteProducts best = look();
  return best;
}

ByteProducts byte_products() { return std::min(best_byte_products(), most.load(std::memory_order_relaxed)); }

void limit_byte_products(ByteProducts limit) { most.store(limit); }

}  // namespace course
