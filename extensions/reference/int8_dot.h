// Products of bytes, summed four at a time: what processors offer an instruction of their own for.
//
// The only place in the kernels where an instruction is named. Which one is decided when the code is compiled, for the
// processor that it is compiled for; elsewhere it is spelt out. All ways give the same integers.
//
//   x86  VNNI     vpdpbusd, https://www.intel.com/content/www/us/en/docs/intrinsics-guide (_mm512_dpbusd_epi32)
//   Arm  dotprod  sdot, https://developer.arm.com/architectures/instruction-sets/intrinsics (vdotq_s32)
#pragma once

#include "vector.h"

#if !defined(COURSE_NO_INTRINSICS)
#if VECTOR_BYTES == 64 && defined(__AVX512VNNI__)
#include <immintrin.h>
#define COURSE_VNNI_512
#elif VECTOR_BYTES == 32 && (defined(__AVXVNNI__) || (defined(__AVX512VNNI__) && defined(__AVX512VL__)))
#include <immintrin.h>
#define COURSE_VNNI_256
#elif defined(__aarch64__) && defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#define COURSE_SDOT
#endif
#endif

namespace course {

typedef int16_t Shorts __attribute__((vector_size(VECTOR_BYTES)));

// sums + for each lane the four products of its bytes: of `weights` unsigned, of `x` signed.
ALWAYS_INLINE Ints dot_bytes(Words weights, Words x, Ints sums) {
#if defined(COURSE_VNNI_512)
  return (Ints)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)weights, (__m512i)x);
#elif defined(COURSE_VNNI_256) && defined(__AVXVNNI__)
  return (Ints)_mm256_dpbusd_avx_epi32((__m256i)sums, (__m256i)weights, (__m256i)x);
#elif defined(COURSE_VNNI_256)
  return (Ints)_mm256_dpbusd_epi32((__m256i)sums, (__m256i)weights, (__m256i)x);
#elif defined(COURSE_SDOT)
  // It takes signed bytes only: w = (w - 128) + 128, and w - 128 is w with its highest bit turned over.
  const int8x16_t bytes = (int8x16_t)x;
  sums = (Ints)vdotq_s32((int32x4_t)sums, (int8x16_t)(weights ^ 0x80808080), bytes);
  return sums + ((Ints)vdotq_s32(vdupq_n_s32(0), vdupq_n_s8(64), bytes) << 1);
#else
  // Every other byte as 16 bits, which hold a product (255 * 128 at most), then each half of a lane as 32.
  const Shorts even = (Shorts)(weights & 0x00ff00ff) * ((Shorts)(x << 8) >> 8);
  const Shorts odd = (Shorts)(weights >> 8 & 0x00ff00ff) * ((Shorts)x >> 8);
  auto halves = [](Shorts products) __attribute__((always_inline)) {
    return ((Ints)((Words)products << 16) >> 16) + ((Ints)products >> 16);
  };
  return sums + halves(even) + halves(odd);
#endif
}

}  // namespace course
