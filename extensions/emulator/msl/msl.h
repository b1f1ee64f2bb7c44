// The Metal Shading Language's types and library on a CPU: what every translated kernel includes.
#pragma once

#include "atomic.h"
#include "simdgroup_matrix.h"

namespace emulator {

// A variable that the threads of a threadgroup share. ID tells two of the same type apart.
template <int ID, class T> inline char threadgroup_key;
template <int ID, class T> inline T& threadgroup_variable(const char* name) {
  using Element = std::remove_all_extents_t<T>;
  void* storage = emulator_threadgroup_memory(&threadgroup_key<ID, T>, sizeof(T), sizeof(Element), name);
  return *static_cast<T*>(storage);
}

inline uint3 three(const uint32_t (&v)[3]) { return uint3(v[0], v[1], v[2]); }

}  // namespace emulator

using namespace metal;
