// Barriers.
#pragma once

#include "interface.h"

// Evaluated where the function is called: the line of the .metal file.
#define HERE emulator::Place place = {__builtin_FILE(), __builtin_LINE()}

namespace metal {

enum class mem_flags { mem_none = 0, mem_device = 1, mem_threadgroup = 2, mem_texture = 4 };
constexpr mem_flags operator|(mem_flags a, mem_flags b) { return mem_flags(int(a) | int(b)); }

inline void threadgroup_barrier(mem_flags flags, HERE) { emulator_threadgroup_barrier(int(flags), place); }
inline void simdgroup_barrier(mem_flags flags, HERE) { emulator_simdgroup_barrier(int(flags), place); }

}  // namespace metal
