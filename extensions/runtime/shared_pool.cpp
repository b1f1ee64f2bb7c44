// The one pool of this process, and how many threads it has.
#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>

#include "thread_pool.h"

#if defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(__linux__)
#include <sched.h>
#endif

namespace course {

namespace {

constexpr int MOST_THREADS = 1024;

#if defined(__APPLE__)

// The slower cores of a Mac would keep the faster ones waiting.
int cores() {
  int count = 0;
  size_t bytes = sizeof count;
  if (sysctlbyname("hw.perflevel0.physicalcpu", &count, &bytes, nullptr, 0) == 0 && count > 0) return count;
  return static_cast<int>(std::thread::hardware_concurrency());
}

#elif defined(__linux__)

// CPUs' worth of time that the control group (a container) may use; a large number where unlimited.
// https://docs.kernel.org/admin-guide/cgroup-v2.html, cpu.max
double quota() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string most;
  double period = 0;
  if (!(file >> most >> period) || most == "max" || period <= 0) return MOST_THREADS;
  return std::atof(most.c_str()) / period;
}

// Two hardware threads of one core share what kernels use up; they count once.
int cores() {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) {
    return static_cast<int>(std::thread::hardware_concurrency());
  }
  std::set<std::string> physical;
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list");
    std::string siblings;
    if (!(file >> siblings)) siblings = "cpu " + std::to_string(cpu);
    physical.insert(siblings);
  }
  return std::min(static_cast<int>(physical.size()), static_cast<int>(quota() + 0.5));
}

#else

int cores() { return static_cast<int>(std::thread::hardware_concurrency()); }

#endif

std::mutex pool_lock;

// Never destroyed: at the end of the process its threads may be anywhere.
std::shared_ptr<ThreadPool>& pool() {
  static auto& pool = *new std::shared_ptr<ThreadPool>;
  return pool;
}

}  // namespace

int default_threads() {
  const char* wanted = std::getenv("COURSE_NUM_THREADS");
  if (wanted == nullptr || *wanted == 0) return std::clamp(cores(), 1, MOST_THREADS);
  char* end = nullptr;
  const long threads = std::strtol(wanted, &end, 10);
  if (*end != 0 || threads < 1 || threads > MOST_THREADS) {
    throw std::invalid_argument("the environment variable COURSE_NUM_THREADS is \"" + std::string(wanted) +
                                "\"; wanted a number from 1 to 1024, or none");
  }
  return static_cast<int>(threads);
}

std::shared_ptr<ThreadPool> shared_pool() {
  std::lock_guard lock(pool_lock);
  if (!pool()) pool() = std::make_shared<ThreadPool>(default_threads());
  return pool();
}

void set_threads(int threads) {
  if (threads < 1 || threads > MOST_THREADS) {
    throw std::invalid_argument("given " + std::to_string(threads) + " threads; wanted 1 to 1024");
  }
  std::shared_ptr<ThreadPool> fresh = std::make_shared<ThreadPool>(threads);
  std::lock_guard lock(pool_lock);
  pool().swap(fresh);
}

}  // namespace course
