// One run of a kernel: its memory, its threads, and what is seen of them.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "clock.h"
#include "finding.h"
#include "memory.h"
#include "request.h"
#include "site.h"
#include "thread.h"
#include "traffic.h"

namespace emulator {

constexpr std::size_t MOST_THREADGROUP_BYTES = 32 << 10;

class Launch {
 public:
  explicit Launch(Request& request);
  void run();
  void copy_outputs();

  // Called from a kernel's threads.
  void wait(Thread::State state);
  void* threadgroup_memory(const void* key, std::size_t bytes, unsigned element_bytes, const char* name);
  void access(const void* address, unsigned bytes, bool write, bool atomic, uintptr_t pc);
  Finding begin_finding(const char* kind) const;  // with the running thread's numbers

  Thread* running = nullptr;
  Findings findings;
  Sites sites;
  Traffic traffic;
  Memory memory;
  uintptr_t last_pc = 0;
  Request& request;

 private:
  void run_threadgroup(uint32_t number);
  void run_simdgroup(uint32_t first, uint32_t count);
  void run_thread(Thread& thread);
  void resolve(uint32_t first, uint32_t count);
  void release_barrier(uint32_t count);
  void place_threads(uint32_t number);
  void shuffle(std::vector<uint32_t>& order);
  static void thread_body();
  // race.cpp
  void check_order(Region& region, const char* address, unsigned bytes, bool write, bool atomic, uint16_t site);
  bool ordered(const Region& region, const Mark& before, const Mark& now) const;
  void report_race(const Region& region, std::size_t offset, const Mark& before, bool before_write, const Mark& now,
                   bool write, const char* address, unsigned bytes);
  void settle();

  // Two unordered writes. If the second leaves the bytes as they are, both wrote the same and nothing is wrong.
  struct DoubleWrite {
    Finding finding;
    const char* address;
    std::string bytes;
  };

  std::vector<DoubleWrite> unsettled_;
  std::vector<void*> buffers_;
  std::vector<Region*> buffer_regions_;
  std::map<const void*, Region*> variables_;  // of threadgroup memory
  std::vector<Thread> threads_;
  std::vector<Fiber*> idle_fibers_;
  uint32_t groups_[3], size_[3], group_ = 0, threads_here_ = 0;
  Clock clock_;
  std::vector<Clock> simd_clocks_;
  uint64_t random_;
};

extern Launch* current;

}  // namespace emulator
