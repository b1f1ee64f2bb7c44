// The sanitizer: every access to shared memory is compared with those before it to the same bytes.
//
// Two accesses race if one of them writes, not both are atomic, and no barrier orders them: for two threads of a
// threadgroup one that names their kind of memory; for two lanes of a SIMD-group a simdgroup_barrier will do;
// for two threadgroups there is none. Two writes of the same value are let pass: it is a common and harmless way to
// say that any thread may do it.
#include <algorithm>
#include <cstring>

#include "launch.h"

namespace emulator {

void Launch::access(const void* pointer, unsigned bytes, bool write, bool atomic, uintptr_t pc) {
  if (!running) return;
  Region* found = memory.find(pointer);
  if (!found) return;  // private memory
  settle();
  last_pc = pc;
  Region& region = *found;
  const char* address = static_cast<const char*>(pointer);
  if (!region.contains(address, bytes)) {
    Finding finding = begin_finding("out_of_bounds");
    finding.region = &region;
    finding.offset = address - region.data;
    finding.bytes = bytes;
    finding.write = write;
    finding.pc = pc;
    findings.add(finding);
    return;
  }
  const uint16_t site = sites.at(pc);
  traffic.access(region, site, address, bytes, write, group_, running->index);
  check_order(region, address, bytes, write, atomic, site);
}

namespace {

// An access to part of a granule: from now on each byte has a cell of its own.
void refine(Region& region) {
  std::vector<Cell> fine(region.bytes);
  for (std::size_t i = 0; i < fine.size(); i++) fine[i] = region.cells[i / region.granule_bytes];
  region.cells = std::move(fine);
  region.granule_bytes = 1;
}

// Which two reads to remember: such that a later write that races with any, races with one of these.
void remember_read(Cell& cell, const Mark& now) {
  for (Mark* known : {&cell.read, &cell.other_read})
    if (known->threadgroup == 0 || (known->threadgroup == now.threadgroup && known->thread == now.thread)) {
      *known = now;
      return;
    }
  if (cell.read.threadgroup != cell.other_read.threadgroup && now.threadgroup != cell.read.threadgroup &&
      now.threadgroup != cell.other_read.threadgroup)
    return;  // those two already race with any write
  if (cell.read.threadgroup != now.threadgroup && cell.other_read.threadgroup != now.threadgroup) {
    cell.other_read = now;
    return;
  }
  // Of this threadgroup's, the one that a barrier has passed by tells nothing more; else keep two SIMD-groups.
  Mark& mine = cell.other_read.threadgroup == now.threadgroup ? cell.other_read : cell.read;
  Mark& rest = &mine == &cell.read ? cell.other_read : cell.read;
  if (rest.threadgroup == now.threadgroup && rest.barriers < now.barriers) rest = now;
  else if (mine.barriers < now.barriers) mine = now;
  else if (mine.thread / 32 == rest.thread / 32 || mine.thread / 32 == now.thread / 32) mine = now;
}

}  // namespace

void Launch::check_order(Region& region, const char* address, unsigned bytes, bool write, bool atomic,
                         uint16_t site) {
  const std::size_t offset = address - region.data;
  if (offset % region.granule_bytes || bytes % region.granule_bytes) refine(region);
  Mark now;
  now.threadgroup = group_ + 1;
  now.thread = static_cast<uint16_t>(running->index);
  now.site = site;
  now.barriers = clock_.now;
  now.simd_barriers = simd_clocks_[running->simdgroup()].now;
  now.atomic = atomic;
  bool told = false;
  for (std::size_t at = offset; at < offset + bytes; at += region.granule_bytes) {
    Cell& cell = region.cells[at / region.granule_bytes];
    if (region.space == Region::THREADGROUP)  // another threadgroup's accesses were to other memory
      for (Mark* mark : {&cell.write, &cell.read, &cell.other_read})
        if (mark->threadgroup != now.threadgroup) *mark = Mark();
    if (!told && !ordered(region, cell.write, now)) {
      report_race(region, at, cell.write, true, now, write, address, bytes);
      told = true;
    }
    if (!told && write)
      for (const Mark* read : {&cell.read, &cell.other_read})
        if (!told && !ordered(region, *read, now)) {
          report_race(region, at, *read, false, now, true, address, bytes);
          told = true;
        }
    if (write) {
      cell.write = now;
    } else {
      if (!region.initialised && cell.write.threadgroup == 0 && !told) {
        Finding finding = begin_finding("uninitialised");
        finding.region = &region;
        finding.offset = static_cast<int64_t>(at);
        finding.bytes = bytes;
        finding.pc = sites[site].pc;
        findings.add(finding);
        told = true;
      }
      remember_read(cell, now);
    }
  }
}

bool Launch::ordered(const Region& region, const Mark& before, const Mark& now) const {
  if (before.threadgroup == 0 || (before.atomic && now.atomic)) return true;
  if (before.threadgroup != now.threadgroup) return false;
  if (before.thread == now.thread || before.barriers < clock_.ordered(region.space)) return true;
  const uint32_t simdgroup = now.thread / 32;
  return before.thread / 32 == simdgroup && before.simd_barriers < simd_clocks_[simdgroup].ordered(region.space);
}

void Launch::report_race(const Region& region, std::size_t offset, const Mark& before, bool before_write,
                         const Mark& now, bool write, const char* address, unsigned bytes) {
  Finding finding = begin_finding("race");
  finding.region = &region;
  finding.offset = static_cast<int64_t>(offset);
  finding.bytes = bytes;
  finding.write = write;
  finding.other_write = before_write;
  finding.pc = sites[now.site].pc;
  finding.other_pc = sites[before.site].pc;
  finding.other_thread = before.thread;
  finding.other_threadgroup = before.threadgroup - 1;
  if (before.threadgroup != now.threadgroup) finding.detail = "grid";
  else if (before.barriers < now.barriers) finding.detail = "flags";
  else if (before.thread / 32 != now.thread / 32) finding.detail = "threadgroup";
  else finding.detail = before.simd_barriers < now.simd_barriers ? "simdgroup_flags" : "simdgroup";
  if (before_write && write) unsettled_.push_back({finding, address, std::string(address, bytes)});
  else findings.add(finding);
}

// By now the thread has done the write that it had announced.
void Launch::settle() {
  for (const DoubleWrite& write : unsettled_)
    if (std::memcmp(write.address, write.bytes.data(), write.bytes.size()) != 0) findings.add(write.finding);
  unsettled_.clear();
}

}  // namespace emulator
