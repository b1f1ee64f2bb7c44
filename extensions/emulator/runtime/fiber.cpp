#include "fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

// switch_stack(save, to): push what the calling convention says a call must preserve, store the stack pointer
// in *save, take `to` as stack pointer, pop the same and return there.
#if defined(__APPLE__)
#define SYMBOL "_emulator_switch_stack"
#else
#define SYMBOL "emulator_switch_stack"
#endif

#if defined(__x86_64__)
asm(".text\n.globl " SYMBOL "\n" SYMBOL ":\n"
    "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
    "movq %rsp, (%rdi)\nmovq %rsi, %rsp\n"
    "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n");
#elif defined(__aarch64__)
asm(".text\n.globl " SYMBOL "\n" SYMBOL ":\n"
    "sub sp, sp, #160\n"
    "stp x19, x20, [sp]\nstp x21, x22, [sp, #16]\nstp x23, x24, [sp, #32]\nstp x25, x26, [sp, #48]\n"
    "stp x27, x28, [sp, #64]\nstp x29, x30, [sp, #80]\n"
    "stp d8, d9, [sp, #96]\nstp d10, d11, [sp, #112]\nstp d12, d13, [sp, #128]\nstp d14, d15, [sp, #144]\n"
    "mov x9, sp\nstr x9, [x0]\nmov sp, x1\n"
    "ldp x19, x20, [sp]\nldp x21, x22, [sp, #16]\nldp x23, x24, [sp, #32]\nldp x25, x26, [sp, #48]\n"
    "ldp x27, x28, [sp, #64]\nldp x29, x30, [sp, #80]\n"
    "ldp d8, d9, [sp, #96]\nldp d10, d11, [sp, #112]\nldp d12, d13, [sp, #128]\nldp d14, d15, [sp, #144]\n"
    "add sp, sp, #160\nret\n");
#else
#error "the emulator switches stacks on x86-64 and on 64-bit Arm only"
#endif

extern "C" void emulator_switch_stack(void** save, void* to);

namespace emulator {

namespace {
void* scheduler_stack;
const std::size_t PAGE = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
int made;
}  // namespace

Fiber::Fiber(void (*body)()) {
  const int flags = MAP_PRIVATE | MAP_ANON | MAP_NORESERVE;
  memory_ = static_cast<char*>(mmap(nullptr, STACK_BYTES + PAGE, PROT_READ | PROT_WRITE, flags, -1, 0));
  if (memory_ == MAP_FAILED) {
    std::perror("emulator: no memory for a thread's stack");
    std::abort();
  }
  mprotect(memory_, PAGE, PROT_NONE);
  // Tops of stacks all a power of two apart would share the same few lines of the cache.
  char* top = memory_ + PAGE + STACK_BYTES - 64 * (1 + made++ % 31);
#if defined(__x86_64__)
  void** stack = reinterpret_cast<void**>(top);
  *--stack = nullptr;  // where a return address would be: keeps the stack aligned as after a call
  *--stack = reinterpret_cast<void*>(body);
  for (int i = 0; i < 6; i++) *--stack = nullptr;
  stack_pointer_ = stack;
#else
  char* stack = top - 160;
  std::memset(stack, 0, 160);
  reinterpret_cast<void**>(stack)[11] = reinterpret_cast<void*>(body);  // x30, the return address
  stack_pointer_ = stack;
#endif
}

Fiber::~Fiber() { munmap(memory_, STACK_BYTES + PAGE); }

void Fiber::enter() { emulator_switch_stack(&scheduler_stack, stack_pointer_); }

void Fiber::leave() { emulator_switch_stack(&stack_pointer_, scheduler_stack); }

bool Fiber::owns(const void* address) const {
  return address >= memory_ && address < memory_ + PAGE + STACK_BYTES;
}

}  // namespace emulator
