// <metal_atomic>. Metal has relaxed atomics only.
#pragma once

#include "traits.h"

namespace metal {

enum memory_order { memory_order_relaxed };

template <class T> struct _atomic {
  T value;
};
template <class T> using atomic = _atomic<T>;
typedef atomic<int> atomic_int;
typedef atomic<uint> atomic_uint;
typedef atomic<bool> atomic_bool;
typedef atomic<float> atomic_float;
typedef atomic<ulong> atomic_ulong;

// One operating-system thread runs all of the kernel's, and none is interrupted: a read and a write are atomic.
// always_inline: the runtime charges the access to the line of the .metal file.
#define ATOMIC template <class T> inline __attribute__((always_inline))
ATOMIC T atomic_load_explicit(const volatile atomic<T>* from, memory_order) {
  T value;
  emulator_atomic_read(const_cast<const atomic<T>*>(from), &value, sizeof value);
  return value;
}
ATOMIC void atomic_store_explicit(volatile atomic<T>* to, std::type_identity_t<T> value, memory_order) {
  emulator_atomic_write(const_cast<atomic<T>*>(to), &value, sizeof value);
}
#define ATOMIC_FETCH(name, expression)                                                               \
  ATOMIC T name(volatile atomic<T>* of, std::type_identity_t<T> operand, memory_order order) {       \
    const T old = atomic_load_explicit(of, order);                                                   \
    atomic_store_explicit(of, T(expression), order);                                                 \
    return old;                                                                                      \
  }
ATOMIC_FETCH(atomic_exchange_explicit, operand)
ATOMIC_FETCH(atomic_fetch_add_explicit, old + operand)
ATOMIC_FETCH(atomic_fetch_sub_explicit, old - operand)
ATOMIC_FETCH(atomic_fetch_min_explicit, operand < old ? operand : old)
ATOMIC_FETCH(atomic_fetch_max_explicit, old < operand ? operand : old)
ATOMIC_FETCH(atomic_fetch_and_explicit, old & operand)
ATOMIC_FETCH(atomic_fetch_or_explicit, old | operand)
ATOMIC_FETCH(atomic_fetch_xor_explicit, old ^ operand)
#undef ATOMIC_FETCH
ATOMIC bool atomic_compare_exchange_weak_explicit(volatile atomic<T>* of, T* expected,
                                                  std::type_identity_t<T> desired, memory_order order, memory_order) {
  const T old = atomic_load_explicit(of, order);
  const bool equal = __builtin_memcmp(&old, expected, sizeof old) == 0;
  if (equal) atomic_store_explicit(of, desired, order);
  else *expected = old;
  return equal;
}
#undef ATOMIC

}  // namespace metal
