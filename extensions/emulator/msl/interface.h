// What a translated kernel and the runtime say to each other. All else of the runtime is hidden from kernels.
#pragma once

#include <cstddef>
#include <cstdint>

namespace emulator {

// A line of the .metal file.
struct Place {
  const char* file;
  int line;
};

// What a kernel's attributes may ask for, under the names that they have in the Metal Shading Language.
struct Position {
  uint32_t thread_position_in_grid[3], thread_position_in_threadgroup[3], threadgroup_position_in_grid[3];
  uint32_t threads_per_threadgroup[3], dispatch_threads_per_threadgroup[3];
  uint32_t threads_per_grid[3], threadgroups_per_grid[3], grid_size[3], grid_origin[3];
  uint32_t thread_index_in_threadgroup[3], thread_index_in_simdgroup[3], simdgroup_index_in_threadgroup[3];
  uint32_t simdgroups_per_threadgroup[3], dispatch_simdgroups_per_threadgroup[3], threads_per_simdgroup[3];
  uint32_t thread_execution_width[3], thread_index_in_quadgroup[3], quadgroup_index_in_threadgroup[3];
  uint32_t quadgroups_per_threadgroup[3], dispatch_quadgroups_per_threadgroup[3];
};

// Computes an operation of a SIMD-group once all its lanes have come: in[i] and out[i] point to what lane i
// gave and is to get. Bit i of `lanes` says that lane i takes part. False if some lane read a lane that does not.
using Resolve = bool (*)(const void* const* in, void* const* out, uint32_t lanes);

enum MemFlags { MEM_NONE = 0, MEM_DEVICE = 1, MEM_THREADGROUP = 2, MEM_TEXTURE = 4 };

}  // namespace emulator

// The kernel, called once a thread.
extern "C" void emulated_kernel(void* const* buffers, const emulator::Position& at);

// What the runtime offers it.
extern "C" {
void emulator_threadgroup_barrier(int flags, emulator::Place place);
void emulator_simdgroup_barrier(int flags, emulator::Place place);
// `whole`: the operation is defined only if every lane takes part.
void emulator_collective(emulator::Resolve resolve, const void* in, void* out, const char* name, bool whole,
                         emulator::Place place);
bool emulator_matrix_multiply(const void* const* in, void* const* out, uint32_t lanes);  // a Resolve
uint32_t emulator_lane();
void emulator_returned();
// The storage of a threadgroup variable; `key` is the variable's.
void* emulator_threadgroup_memory(const void* key, size_t bytes, size_t element_bytes, const char* name);
void emulator_atomic_read(const void* from, void* to, unsigned bytes);
void emulator_atomic_write(void* to, const void* from, unsigned bytes);
void emulator_index(long index, int size);  // reports a vector component that is not there
}
