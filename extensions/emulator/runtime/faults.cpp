#include "faults.h"

#include <signal.h>
#include <sys/time.h>
#if defined(__APPLE__)
#include <sys/ucontext.h>  // <ucontext.h> is refused there
#else
#include <ucontext.h>
#endif

#include <cstdlib>

#include "launch.h"

namespace emulator {

namespace {

void (*finish_report)();

uintptr_t interrupted_at(void* context) {
  const auto* machine = static_cast<ucontext_t*>(context);
#if defined(__APPLE__) && defined(__x86_64__)
  return machine->uc_mcontext->__ss.__rip;
#elif defined(__APPLE__)
  return machine->uc_mcontext->__ss.__pc;
#elif defined(__x86_64__)
  return static_cast<uintptr_t>(machine->uc_mcontext.gregs[REG_RIP]);
#else
  return machine->uc_mcontext.pc;
#endif
}

void handle(int number, siginfo_t* info, void* context) {
  signal(number, SIG_DFL);
  if (!current) std::_Exit(4);
  Finding finding = current->begin_finding("crash");
  const bool overflow = current->running && current->running->fiber && current->running->fiber->owns(info->si_addr);
  finding.detail = number == SIGFPE ? "integer division by zero, or of the least number by -1"
                   : number == SIGILL || number == SIGTRAP ? "trap" : "access to memory that is not there";
  if ((number == SIGSEGV || number == SIGBUS) && overflow) finding.kind = "stack_overflow";
  if (number == SIGALRM) finding.kind = "time_limit";
  // The line of the last checked access follows, for when the interrupted one is not the kernel's own.
  finding.pc = interrupted_at(context) + 1;  // as a return address would be
  finding.other_pc = current->last_pc;
  current->findings.add(finding);
  finish_report();
  std::_Exit(0);
}

}  // namespace

void catch_faults(double seconds, void (*finish)()) {
  finish_report = finish;
  static char stack[128 << 10];  // its own: the fiber's may be what has overflowed
  stack_t alternative = {};
  alternative.ss_sp = stack;
  alternative.ss_size = sizeof stack;
  sigaltstack(&alternative, nullptr);
  struct sigaction action = {};
  action.sa_sigaction = handle;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  for (int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGALRM}) sigaction(number, &action, nullptr);
  itimerval timer = {};
  timer.it_value.tv_sec = static_cast<time_t>(seconds);
  timer.it_value.tv_usec = static_cast<suseconds_t>((seconds - static_cast<double>(timer.it_value.tv_sec)) * 1e6);
  setitimer(ITIMER_REAL, &timer, nullptr);
}

}  // namespace emulator
