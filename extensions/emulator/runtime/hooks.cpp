// What a checked kernel calls at each of its memory accesses and where its behaviour is undefined.
//
// The kernel is compiled with -fsanitize=thread and -fsanitize=undefined; the compilers' own run-time libraries
// are not linked, and these functions stand in their places. See compiler-rt's tsan_interface.h and
// ubsan_handlers.h for what each is called with.
#include <cstdint>
#include <cstring>

#include "launch.h"

using namespace emulator;

#define CALLER reinterpret_cast<uintptr_t>(__builtin_return_address(0))

extern "C" {

#define ACCESS(name, bytes, write) \
  void name(void* address) { current->access(address, bytes, write, false, CALLER); }
#define ACCESSES(bytes)                                   \
  ACCESS(__tsan_read##bytes, bytes, false)                \
  ACCESS(__tsan_write##bytes, bytes, true)                \
  ACCESS(__tsan_unaligned_read##bytes, bytes, false)      \
  ACCESS(__tsan_unaligned_write##bytes, bytes, true)      \
  ACCESS(__tsan_volatile_read##bytes, bytes, false)       \
  ACCESS(__tsan_volatile_write##bytes, bytes, true)       \
  void __tsan_read_write##bytes(void* address) {          \
    current->access(address, bytes, false, false, CALLER); \
    current->access(address, bytes, true, false, CALLER);  \
  }
ACCESSES(1) ACCESSES(2) ACCESSES(4) ACCESSES(8) ACCESSES(16)

void __tsan_read_range(void* from, size_t bytes) {
  current->access(from, static_cast<unsigned>(bytes), false, false, CALLER);
}
void __tsan_write_range(void* to, size_t bytes) {
  current->access(to, static_cast<unsigned>(bytes), true, false, CALLER);
}
void* __tsan_memcpy(void* to, const void* from, size_t bytes) {
  current->access(from, static_cast<unsigned>(bytes), false, false, CALLER);
  current->access(to, static_cast<unsigned>(bytes), true, false, CALLER);
  return std::memmove(to, from, bytes);
}
void* __tsan_memmove(void* to, const void* from, size_t bytes) {
  current->access(from, static_cast<unsigned>(bytes), false, false, CALLER);
  current->access(to, static_cast<unsigned>(bytes), true, false, CALLER);
  return std::memmove(to, from, bytes);
}
void* __tsan_memset(void* to, int value, size_t bytes) {
  current->access(to, static_cast<unsigned>(bytes), true, false, CALLER);
  return std::memset(to, value, bytes);
}
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}

void emulator_atomic_read(const void* from, void* to, unsigned bytes) {
  if (EMULATOR_CHECKED) current->access(from, bytes, false, true, CALLER);
  std::memcpy(to, from, bytes);
}
void emulator_atomic_write(void* to, const void* from, unsigned bytes) {
  if (EMULATOR_CHECKED) current->access(to, bytes, true, true, CALLER);
  std::memcpy(to, from, bytes);
}
}

namespace {

void undefined(const char* what, uintptr_t pc) {
  if (!current || !current->running) return;
  Finding finding = current->begin_finding("undefined");
  finding.detail = what;
  finding.pc = pc;
  current->findings.add(finding);
}

}  // namespace

void leave_for_good();  // main.cpp: write the report and end

extern "C" {

void emulator_index(long index, int size) {
  const bool below = index < 0;
  undefined(below ? "component before the first of a vector"
            : size == 2 ? "component beyond the second of a vector of 2"
            : size == 3 ? "component beyond the third of a vector of 3" : "component beyond the fourth of a vector of 4",
            CALLER);
}

#define UNDEFINED_2(name, what) \
  void __ubsan_handle_##name(void*, uintptr_t, uintptr_t) { undefined(what, CALLER); }
#define UNDEFINED_1(name, what) \
  void __ubsan_handle_##name(void*, uintptr_t) { undefined(what, CALLER); }
UNDEFINED_2(add_overflow, "signed overflow in an addition")
UNDEFINED_2(sub_overflow, "signed overflow in a subtraction")
UNDEFINED_2(mul_overflow, "signed overflow in a multiplication")
UNDEFINED_1(negate_overflow, "signed overflow in a negation")
UNDEFINED_2(divrem_overflow, "integer division by zero")
UNDEFINED_2(shift_out_of_bounds, "shift by a negative count or by the width of the type or more")
UNDEFINED_1(vla_bound_not_positive, "array of no or negative size")

// The index is handed over as a number if its type is no wider than a pointer, which every integer of Metal is.
void __ubsan_handle_out_of_bounds(void*, uintptr_t) { undefined("index outside an array", CALLER); }

void __ubsan_handle_builtin_unreachable(void*) {
  undefined("a place that the code says is never reached", CALLER);
  leave_for_good();
}
void __ubsan_handle_missing_return(void*) {
  undefined("the end of a function that should have returned a value", CALLER);
  leave_for_good();
}
}
