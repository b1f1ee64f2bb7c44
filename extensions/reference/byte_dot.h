// Products of bytes, summed four at a time: what processors have an instruction of their own for.
//
// Written as assembly, so that code for a processor without the instruction can hold it too and step around it
// (processor.h). Both ways give the same integers.
//
//   x86  vpdpbusd  https://www.intel.com/content/www/us/en/docs/intrinsics-guide (_mm512_dpbusd_epi32)
//   Arm  sdot      https://developer.arm.com/architectures/instruction-sets/intrinsics (vdotq_s32)
#pragma once

#include "vector.h"

namespace course {

typedef int16_t Shorts __attribute__((vector_size(VECTOR_BYTES)));

// sums + for each lane the four products of its bytes: of `weights` unsigned, of `x` signed.
template <bool INSTRUCTION>
ALWAYS_INLINE Ints dot_bytes(Words weights, Words x, Ints sums) {
  if constexpr (INSTRUCTION) {
#if defined(__AVX512F__) && VECTOR_BYTES == 64
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(weights), "v"(x));
#elif defined(__AVX__) && VECTOR_BYTES == 32
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sums) : "x"(weights), "x"(x));
#elif defined(__aarch64__) && defined(__ARM_FEATURE_DOTPROD)
    // It takes signed bytes only: w = (w - 128) + 128, and w - 128 is w with its highest bit turned over.
    const Words halves = Words{} + 0x40404040;
    Ints rest = {};
    __asm__("sdot %0.4s, %1.16b, %2.16b" : "+w"(sums) : "w"(weights ^ 0x80808080), "w"(x));
    __asm__("sdot %0.4s, %1.16b, %2.16b" : "+w"(rest) : "w"(halves), "w"(x));
    sums += rest << 1;
#else
    __builtin_trap();  // processor.cpp finds no instruction here
#endif
    return sums;
  } else {
    // Every other byte as 16 bits, which hold a product (255 * 128 at most), then each half of a lane as 32.
    const Shorts even = (Shorts)(weights & 0x00ff00ff) * ((Shorts)(x << 8) >> 8);
    const Shorts odd = (Shorts)(weights >> 8 & 0x00ff00ff) * ((Shorts)x >> 8);
    const Ints low = ((Ints)((Words)even << 16) >> 16) + ((Ints)((Words)odd << 16) >> 16);
    return sums + low + ((Ints)even >> 16) + ((Ints)odd >> 16);
  }
}

}  // namespace course
