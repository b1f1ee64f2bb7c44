#include "launch.h"

#include <algorithm>
#include <cstring>

namespace emulator {

Launch* current;

namespace {

constexpr int UNWRITTEN = 0xff;  // every byte: a NaN in each floating-point type, -1 in integers

std::size_t total_bytes(const Request& request) {
  std::size_t total = 0;
  for (uint32_t i = 0; i < request.header->buffers; i++) total += request.buffers[i].bytes;
  return total;
}

}  // namespace

Launch::Launch(Request& asked)
    : traffic(sites, asked.header->touches),
      memory(total_bytes(asked), asked.header->buffers, EMULATOR_CHECKED),
      request(asked),
      random_(asked.header->seed * 2 + 1) {
  const RequestHeader& header = *request.header;
  for (uint32_t i = 0; i < header.buffers; i++) {
    const BufferRecord& buffer = request.buffers[i];
    const auto space = buffer.role == BufferRecord::CONSTANT ? Region::CONSTANT : Region::DEVICE;
    Region& region = memory.add(buffer.name, space, buffer.bytes, buffer.element_bytes, buffer.initialised);
    if (buffer.initialised) std::memcpy(region.data, request.file + buffer.offset, buffer.bytes);
    else std::memset(region.data, UNWRITTEN, buffer.bytes);
    buffers_.push_back(region.data);
    buffer_regions_.push_back(&region);
  }
  for (int d = 0; d < 3; d++) {
    size_[d] = std::min(header.threadgroup[d], header.grid[d]);
    groups_[d] = (header.grid[d] + size_[d] - 1) / size_[d];
  }
  threads_.resize(std::size_t(size_[0]) * size_[1] * size_[2]);
}

void Launch::copy_outputs() {
  for (uint32_t i = 0; i < request.header->buffers; i++) {
    const BufferRecord& buffer = request.buffers[i];
    if (buffer.role == BufferRecord::OUTPUT) std::memcpy(request.file + buffer.offset, buffers_[i], buffer.bytes);
  }
}

void Launch::run() {
  std::vector<uint32_t> order(std::size_t(groups_[0]) * groups_[1] * groups_[2]);
  for (std::size_t i = 0; i < order.size(); i++) order[i] = static_cast<uint32_t>(i);
  shuffle(order);
  for (uint32_t number : order) run_threadgroup(number);
}

// In place: as it is, the other way round, or in an order that the seed decides.
void Launch::shuffle(std::vector<uint32_t>& order) {
  if (request.header->order == 1) std::reverse(order.begin(), order.end());
  if (request.header->order != 2) return;
  for (std::size_t i = order.size(); i > 1; i--) {
    random_ = random_ * 6364136223846793005ull + 1442695040888963407ull;  // Knuth's linear congruential generator
    std::swap(order[i - 1], order[(random_ >> 33) % i]);
  }
}

void Launch::place_threads(uint32_t number) {
  const RequestHeader& header = *request.header;
  const uint32_t group[3] = {number % groups_[0], number / groups_[0] % groups_[1], number / groups_[0] / groups_[1]};
  uint32_t size[3];  // the last threadgroup of a row may be smaller
  for (int d = 0; d < 3; d++) size[d] = std::min(size_[d], header.grid[d] - group[d] * size_[d]);
  threads_here_ = size[0] * size[1] * size[2];
  for (uint32_t i = 0; i < threads_here_; i++) {
    Thread& thread = threads_[i];
    thread.state = Thread::READY;
    thread.returned = false;
    thread.index = i;
    Position& at = thread.at;
    std::memset(&at, 0, sizeof at);
    const uint32_t position[3] = {i % size[0], i / size[0] % size[1], i / size[0] / size[1]};
    for (int d = 0; d < 3; d++) {
      at.thread_position_in_grid[d] = group[d] * size_[d] + position[d];
      at.thread_position_in_threadgroup[d] = position[d];
      at.threadgroup_position_in_grid[d] = group[d];
      at.threads_per_threadgroup[d] = size[d];
      at.dispatch_threads_per_threadgroup[d] = size_[d];
      at.threads_per_grid[d] = at.grid_size[d] = header.grid[d];
      at.threadgroups_per_grid[d] = groups_[d];
    }
    at.thread_index_in_threadgroup[0] = i;
    at.thread_index_in_simdgroup[0] = i % 32;
    at.simdgroup_index_in_threadgroup[0] = i / 32;
    at.simdgroups_per_threadgroup[0] = (threads_here_ + 31) / 32;
    at.dispatch_simdgroups_per_threadgroup[0] = static_cast<uint32_t>((threads_.size() + 31) / 32);
    at.threads_per_simdgroup[0] = at.thread_execution_width[0] = 32;
    at.thread_index_in_quadgroup[0] = i % 4;
    at.quadgroup_index_in_threadgroup[0] = i / 4;
    at.quadgroups_per_threadgroup[0] = (threads_here_ + 3) / 4;
    at.dispatch_quadgroups_per_threadgroup[0] = static_cast<uint32_t>((threads_.size() + 3) / 4);
  }
}

void Launch::run_threadgroup(uint32_t number) {
  group_ = number;
  place_threads(number);
  for (auto& [key, region] : variables_) std::memset(region->data, UNWRITTEN, region->bytes);
  clock_ = Clock();
  const uint32_t simdgroups = (threads_here_ + 31) / 32;
  simd_clocks_.assign(simdgroups, Clock());
  std::vector<uint32_t> order(simdgroups);
  for (;;) {
    for (uint32_t i = 0; i < simdgroups; i++) order[i] = i;
    shuffle(order);
    for (uint32_t s : order) {
      run_simdgroup(32 * s, std::min(32u, threads_here_ - 32 * s));
      traffic.fold();
    }
    const auto waits = [](const Thread& thread) { return thread.state == Thread::AT_THREADGROUP; };
    if (std::none_of(threads_.begin(), threads_.begin() + threads_here_, waits)) return;
    release_barrier(threads_here_);
  }
}

// Runs until every lane is done or waits for the threadgroup.
void Launch::run_simdgroup(uint32_t first, uint32_t count) {
  std::vector<uint32_t> order(count);
  for (;;) {
    for (uint32_t i = 0; i < count; i++) order[i] = first + i;
    shuffle(order);
    for (uint32_t i : order)
      if (threads_[i].state == Thread::READY) run_thread(threads_[i]);
    const auto waits = [](const Thread& thread) { return thread.state == Thread::AT_SIMDGROUP; };
    if (std::none_of(&threads_[first], &threads_[first] + count, waits)) return;
    traffic.fold();
    resolve(first, count);
  }
}

void Launch::thread_body() {
  for (;;) {
    Thread& thread = *current->running;
    emulated_kernel(current->buffers_.data(), thread.at);
    thread.state = Thread::DONE;
    thread.fiber->leave();
  }
}

void Launch::run_thread(Thread& thread) {
  if (!thread.fiber) {
    if (idle_fibers_.empty()) idle_fibers_.push_back(new Fiber(&thread_body));
    thread.fiber = idle_fibers_.back();
    idle_fibers_.pop_back();
  }
  running = &thread;
  thread.fiber->enter();
  settle();
  running = nullptr;
  if (thread.state == Thread::DONE) {
    idle_fibers_.push_back(thread.fiber);
    thread.fiber = nullptr;
  }
}

void Launch::wait(Thread::State state) {
  Thread& thread = *running;
  thread.state = state;
  thread.fiber->leave();
}

// All lanes wait or are done: the operation that comes first in the program is done for the lanes that wait for it.
void Launch::resolve(uint32_t first, uint32_t count) {
  Thread* lanes = &threads_[first];
  const Thread* chosen = nullptr;
  for (uint32_t i = 0; i < count; i++)
    if (lanes[i].state == Thread::AT_SIMDGROUP && (!chosen || lanes[i].place.line < chosen->place.line))
      chosen = &lanes[i];
  const void* in[32] = {};
  void* out[32] = {};
  uint32_t present = 0, elsewhere = 0;
  const Thread* away = nullptr;
  for (uint32_t i = 0; i < count; i++) {
    Thread& thread = lanes[i];
    if (thread.state == Thread::AT_SIMDGROUP && thread.place.line == chosen->place.line &&
        thread.resolve == chosen->resolve) {
      present |= 1u << i;
      in[i] = thread.in;
      out[i] = thread.out;
    } else if (thread.state != Thread::DONE || !thread.returned || chosen->whole) {
      // A lane that left by `return` is inactive, and Metal's operations are defined over the active lanes.
      elsewhere |= 1u << i;
      if (!away) away = &thread;
    }
  }
  // A matrix takes 32 lanes to hold, and the last SIMD-group of a threadgroup may have fewer.
  if (chosen->resolve == emulator_matrix_multiply && count < 32) elsewhere |= ~0u << count;
  if (elsewhere && EMULATOR_CHECKED) {
    Finding finding;
    finding.kind = "simd_divergence";
    finding.detail = chosen->operation;
    finding.threadgroup = group_;
    finding.thread = chosen->index;
    finding.place = chosen->place;
    finding.other_thread = away ? away->index : first + count;
    if (away && away->state != Thread::DONE) finding.other_place = away->place;
    finding.lanes = present;
    finding.missing_lanes = elsewhere;
    findings.add(finding);
  }
  const Place place = chosen->place;
  const char* operation = chosen->operation;
  if (!chosen->resolve) {
    simd_clocks_[first / 32].barrier(chosen->flags);
    traffic.simdgroup_barriers++;
  } else {
    (chosen->resolve == emulator_matrix_multiply ? traffic.matrix_operations : traffic.simd_operations)++;
    const bool sound = chosen->resolve(in, out, present);
    if (!sound && !elsewhere && EMULATOR_CHECKED) {
      Finding finding;
      finding.kind = "simd_inactive";
      finding.detail = operation;
      finding.threadgroup = group_;
      finding.thread = first + __builtin_ctz(present);
      finding.place = place;
      finding.lanes = present;
      findings.add(finding);
    }
  }
  for (uint32_t i = 0; i < count; i++)
    if (present >> i & 1) lanes[i].state = Thread::READY;
}

// Every thread waits at a barrier or is done.
void Launch::release_barrier(uint32_t count) {
  const Thread *waiting = nullptr, *elsewhere = nullptr, *gone = nullptr;
  for (uint32_t i = 0; i < count; i++) {
    const Thread& thread = threads_[i];
    if (thread.state == Thread::DONE) gone = gone ? gone : &thread;
    else if (!waiting) waiting = &thread;
    else if (thread.place.line != waiting->place.line && !elsewhere) elsewhere = &thread;
  }
  if ((elsewhere || gone) && EMULATOR_CHECKED) {
    Finding finding;
    finding.kind = "barrier_divergence";
    finding.threadgroup = group_;
    finding.thread = waiting->index;
    finding.place = waiting->place;
    finding.other_thread = (elsewhere ? elsewhere : gone)->index;
    if (elsewhere) finding.other_place = elsewhere->place;
    findings.add(finding);
  }
  clock_.barrier(waiting->flags);
  traffic.threadgroup_barriers++;
  for (uint32_t i = 0; i < count; i++)
    if (threads_[i].state == Thread::AT_THREADGROUP) threads_[i].state = Thread::READY;
}

void* Launch::threadgroup_memory(const void* key, std::size_t bytes, unsigned element_bytes, const char* name) {
  Region*& region = variables_[key];
  if (!region) {
    const std::size_t before = memory.threadgroup_bytes();
    region = &memory.add(name, Region::THREADGROUP, bytes, element_bytes, false);
    std::memset(region->data, UNWRITTEN, bytes);
    if (before <= MOST_THREADGROUP_BYTES && memory.threadgroup_bytes() > MOST_THREADGROUP_BYTES) {
      Finding finding = begin_finding("threadgroup_memory");
      finding.detail = name;
      finding.bytes = static_cast<unsigned>(memory.threadgroup_bytes());
      findings.add(finding);
    }
  }
  return region->data;
}

Finding Launch::begin_finding(const char* kind) const {
  Finding finding;
  finding.kind = kind;
  finding.threadgroup = group_;
  finding.thread = running ? running->index : 0;
  return finding;
}

}  // namespace emulator

// --- what kernels call ---------------------------------------------------------------------------------------

using namespace emulator;

extern "C" {

void emulator_threadgroup_barrier(int flags, Place place) {
  Thread& thread = *current->running;
  thread.place = place;
  thread.flags = flags;
  current->wait(Thread::AT_THREADGROUP);
}

void emulator_simdgroup_barrier(int flags, Place place) {
  Thread& thread = *current->running;
  thread.place = place;
  thread.flags = flags;
  thread.operation = "simdgroup_barrier";
  thread.whole = true;
  thread.resolve = nullptr;
  current->wait(Thread::AT_SIMDGROUP);
}

void emulator_collective(Resolve resolve, const void* in, void* out, const char* name, bool whole, Place place) {
  Thread& thread = *current->running;
  thread.place = place;
  thread.operation = name;
  thread.whole = whole;
  thread.resolve = resolve;
  thread.in = in;
  thread.out = out;
  current->wait(Thread::AT_SIMDGROUP);
}

uint32_t emulator_lane() { return current->running->lane(); }

void emulator_returned() { current->running->returned = true; }

void* emulator_threadgroup_memory(const void* key, size_t bytes, size_t element_bytes, const char* name) {
  return current->threadgroup_memory(key, bytes, static_cast<unsigned>(element_bytes), name);
}
}
