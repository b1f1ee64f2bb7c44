// SIMD-group and quad-group functions. Each lane hands in a value; when all have come, one of the structs below
// computes what every lane gets.
#pragma once

#include "barrier.h"
#include "integer.h"

#if defined(__clang__)
#define UNCHECKED __attribute__((no_sanitize("thread", "undefined")))
#else
#define UNCHECKED __attribute__((no_sanitize_thread, no_sanitize_undefined))
#endif

namespace emulator {

constexpr int LANES = 32;
inline bool takes_part(uint32_t lanes, int lane) { return lane >= 0 && lane < LANES && (lanes >> lane & 1); }

// GROUP lanes, from 0, GROUP, 2 GROUP, ... on, are folded in the order of their numbers.
template <class T, class Fold, int GROUP> struct reduce {
  UNCHECKED static bool run(const void* const* in, void* const* out, uint32_t lanes) {
    for (int first = 0; first < LANES; first += GROUP) {
      T total{};
      bool begun = false;
      for (int i = first; i < first + GROUP; i++) {
        if (!takes_part(lanes, i)) continue;
        const T value = *static_cast<const T*>(in[i]);
        total = begun ? Fold::fold(total, value) : value;
        begun = true;
      }
      for (int i = first; i < first + GROUP; i++)
        if (takes_part(lanes, i)) *static_cast<T*>(out[i]) = total;
    }
    return true;
  }
};
template <class T, class Fold, int GROUP, bool INCLUSIVE> struct prefix {
  UNCHECKED static bool run(const void* const* in, void* const* out, uint32_t lanes) {
    for (int first = 0; first < LANES; first += GROUP) {
      T total = Fold::template unit<T>();
      for (int i = first; i < first + GROUP; i++) {
        if (!takes_part(lanes, i)) continue;
        const T before = total;
        total = Fold::fold(total, *static_cast<const T*>(in[i]));
        *static_cast<T*>(out[i]) = INCLUSIVE ? total : before;
      }
    }
    return true;
  }
};
#define FOLD(name, expression)                                                    \
  struct name {                                                                   \
    template <class T> UNCHECKED static T fold(T a, T b) { return expression; }   \
    template <class T> static T unit();                                           \
  };
FOLD(sum, T(a + b))
FOLD(product, T(a * b))
FOLD(maximum, metal::max(a, b))
FOLD(minimum, metal::min(a, b))
FOLD(bit_and, T(a & b))
FOLD(bit_or, T(a | b))
FOLD(bit_xor, T(a ^ b))
#undef FOLD
template <class T> T sum::unit() { return T(0); }
template <class T> T product::unit() { return T(1); }

// The value of another lane, or of this one's `otherwise` where `from` is no lane.
template <class T> struct fetched {
  T value, otherwise;
  int from;
};
template <class T> struct shuffle {
  UNCHECKED static bool run(const void* const* in, void* const* out, uint32_t lanes) {
    bool sound = true;
    for (int i = 0; i < LANES; i++) {
      if (!takes_part(lanes, i)) continue;
      const auto& mine = *static_cast<const fetched<T>*>(in[i]);
      const bool there = takes_part(lanes, mine.from);
      // A lane that would lie outside the SIMD-group is the fill's, or keeps its own value.
      if (!there && mine.from >= 0 && mine.from < LANES) sound = false;
      *static_cast<T*>(out[i]) = there ? static_cast<const fetched<T>*>(in[mine.from])->value : mine.otherwise;
    }
    return sound;
  }
};
struct ballot {
  UNCHECKED static bool run(const void* const* in, void* const* out, uint32_t lanes) {
    uint64_t votes[2] = {0, lanes};
    for (int i = 0; i < LANES; i++)
      if (takes_part(lanes, i) && *static_cast<const bool*>(in[i])) votes[0] |= uint64_t(1) << i;
    for (int i = 0; i < LANES; i++)
      if (takes_part(lanes, i)) __builtin_memcpy(out[i], votes, sizeof votes);
    return true;
  }
};
struct votes {
  uint64_t yes, present;
};

template <class Operation, class Out, class In>
inline Out collective(const In& in, const char* name, Place place, bool whole = false) {
  Out out;
  emulator_collective(&Operation::run, &in, &out, name, whole, place);
  return out;
}
template <class T>
inline T fetch(T value, int from, T otherwise, const char* name, Place place) {
  return collective<shuffle<T>, T>(fetched<T>{value, otherwise, from}, name, place);
}
inline int lane() { return int(emulator_lane()); }

}  // namespace emulator

namespace metal {

#define REDUCTION(name, Fold, group)                                                              \
  template <class T> inline T name(T x, HERE) {                                                   \
    return emulator::collective<emulator::reduce<T, emulator::Fold, group>, T>(x, #name, place);  \
  }
REDUCTION(simd_sum, sum, 32) REDUCTION(simd_product, product, 32) REDUCTION(simd_max, maximum, 32)
REDUCTION(simd_min, minimum, 32) REDUCTION(simd_and, bit_and, 32) REDUCTION(simd_or, bit_or, 32)
REDUCTION(simd_xor, bit_xor, 32)
REDUCTION(quad_sum, sum, 4) REDUCTION(quad_product, product, 4) REDUCTION(quad_max, maximum, 4)
REDUCTION(quad_min, minimum, 4) REDUCTION(quad_and, bit_and, 4) REDUCTION(quad_or, bit_or, 4)
REDUCTION(quad_xor, bit_xor, 4)
#undef REDUCTION
#define PREFIX(name, Fold, group, inclusive)                                                                 \
  template <class T> inline T name(T x, HERE) {                                                              \
    return emulator::collective<emulator::prefix<T, emulator::Fold, group, inclusive>, T>(x, #name, place);  \
  }
PREFIX(simd_prefix_inclusive_sum, sum, 32, true) PREFIX(simd_prefix_exclusive_sum, sum, 32, false)
PREFIX(simd_prefix_inclusive_product, product, 32, true) PREFIX(simd_prefix_exclusive_product, product, 32, false)
PREFIX(quad_prefix_inclusive_sum, sum, 4, true) PREFIX(quad_prefix_exclusive_sum, sum, 4, false)
#undef PREFIX

template <class T> inline T simd_shuffle(T x, ushort lane, HERE) {
  return emulator::fetch(x, lane, x, "simd_shuffle", place);
}
template <class T> inline T simd_shuffle_xor(T x, ushort mask, HERE) {
  return emulator::fetch(x, emulator::lane() ^ mask, x, "simd_shuffle_xor", place);
}
template <class T> inline T simd_shuffle_up(T x, ushort by, HERE) {
  return emulator::fetch(x, emulator::lane() - by, x, "simd_shuffle_up", place);
}
template <class T> inline T simd_shuffle_down(T x, ushort by, HERE) {
  return emulator::fetch(x, emulator::lane() + by, x, "simd_shuffle_down", place);
}
template <class T> inline T simd_shuffle_rotate_up(T x, ushort by, HERE) {
  return emulator::fetch(x, (emulator::lane() - by) & 31, x, "simd_shuffle_rotate_up", place);
}
template <class T> inline T simd_shuffle_rotate_down(T x, ushort by, HERE) {
  return emulator::fetch(x, (emulator::lane() + by) & 31, x, "simd_shuffle_rotate_down", place);
}
// The lanes that would come from outside are taken from the near end of `fill`, in order.
template <class T> inline T simd_shuffle_and_fill_up(T x, T fill, ushort by, HERE) {
  const int from = emulator::lane() - by;
  const T filled = emulator::fetch(fill, from & 31, fill, "simd_shuffle_and_fill_up", place);
  return emulator::fetch(x, from, filled, "simd_shuffle_and_fill_up", place);
}
template <class T> inline T simd_shuffle_and_fill_down(T x, T fill, ushort by, HERE) {
  const int from = emulator::lane() + by;
  const T filled = emulator::fetch(fill, from & 31, fill, "simd_shuffle_and_fill_down", place);
  return emulator::fetch(x, from, filled, "simd_shuffle_and_fill_down", place);
}
template <class T> inline T simd_broadcast(T x, ushort lane, HERE) {
  return emulator::fetch(x, lane, x, "simd_broadcast", place);
}
template <class T> inline T quad_broadcast(T x, ushort lane, HERE) {
  return emulator::fetch(x, (emulator::lane() & ~3) + lane, x, "quad_broadcast", place);
}
template <class T> inline T quad_shuffle(T x, ushort lane, HERE) {
  return emulator::fetch(x, (emulator::lane() & ~3) + lane, x, "quad_shuffle", place);
}
template <class T> inline T quad_shuffle_xor(T x, ushort mask, HERE) {
  return emulator::fetch(x, emulator::lane() ^ mask, x, "quad_shuffle_xor", place);
}

namespace simd_detail {
inline emulator::votes vote(bool yes, const char* name, emulator::Place place) {
  return emulator::collective<emulator::ballot, emulator::votes>(yes, name, place);
}
}  // namespace simd_detail

struct simd_vote {
  using vote_t = ulong;
  ulong yes, present;
  explicit constexpr operator vote_t() const { return yes; }
  bool all() const { return yes == present; }
  bool any() const { return yes != 0; }
};
inline simd_vote simd_ballot(bool yes, HERE) {
  const auto votes = simd_detail::vote(yes, "simd_ballot", place);
  return {votes.yes, votes.present};
}
inline simd_vote simd_active_threads_mask(HERE) {
  const auto votes = simd_detail::vote(true, "simd_active_threads_mask", place);
  return {votes.yes, votes.present};
}
inline bool simd_any(bool yes, HERE) { return simd_detail::vote(yes, "simd_any", place).yes != 0; }
inline bool simd_all(bool yes, HERE) {
  const auto votes = simd_detail::vote(yes, "simd_all", place);
  return votes.yes == votes.present;
}
inline bool simd_is_first(HERE) {
  return __builtin_ctzll(simd_detail::vote(true, "simd_is_first", place).present) == emulator::lane();
}
template <class T> inline T simd_broadcast_first(T x, HERE) {
  const int first = __builtin_ctzll(simd_detail::vote(true, "simd_broadcast_first", place).present);
  return emulator::fetch(x, first, x, "simd_broadcast_first", place);
}

}  // namespace metal
