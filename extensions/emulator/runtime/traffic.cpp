#include "traffic.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace emulator {

void Traffic::access(Region& region, uint16_t number, const char* address, unsigned bytes, bool write,
                     uint32_t threadgroup, uint32_t thread) {
  Site& site = sites_[number];
  Tally& tally = site.tally(region);
  (write ? tally.bytes_written : tally.bytes_read) += bytes;
  (write ? region.tally.bytes_written : region.tally.bytes_read) += bytes;
  if (wanted_ && region.space != Region::THREADGROUP) {
    const auto offset = static_cast<uint64_t>(address - region.data);
    if (touches_.size() < wanted_)
      touches_.push_back({threadgroup, thread, bytes, offset, number, static_cast<uint8_t>(region.number), write});
    else complete_ = false;
  }
  if (region.space != Region::DEVICE) return;  // only device memory is served in cache lines
  if (!site.pending) {
    site.pending = true;
    pending_.push_back(number);
  }
  const uint32_t visit = site.visits[thread % 32]++;
  if (visit >= site.accesses.size()) site.accesses.resize(visit + 1);
  LaneAccesses& lanes = site.accesses[visit];
  if (lanes.count == 0) lanes.region = &region;
  if (lanes.region != &region) {  // lanes of one access that differ in their buffer are served one by one
    LaneAccesses alone;
    alone.region = &region;
    alone.count = 1;
    alone.bytes[0] = static_cast<uint16_t>(std::min(bytes, 65535u));
    alone.address[0] = static_cast<uint64_t>(address - region.data);
    count(site, alone);
    return;
  }
  lanes.bytes[lanes.count] = static_cast<uint16_t>(std::min(bytes, 65535u));
  lanes.address[lanes.count++] = static_cast<uint64_t>(address - region.data);
}

void Traffic::fold() {
  for (uint16_t number : pending_) fold(sites_[number]);
  pending_.clear();
}

void Traffic::fold(Site& site) {
  for (LaneAccesses& lanes : site.accesses) {
    if (lanes.count) count(site, lanes);
    lanes.count = 0;
  }
  std::memset(site.visits, 0, sizeof site.visits);
  site.pending = false;
}

// One access of a SIMD-group: the bytes its lanes asked for, and the lines that these lie in.
void Traffic::count(Site& site, const LaneAccesses& lanes) {
  std::pair<uint64_t, uint64_t> spans[32];
  for (int i = 0; i < lanes.count; i++) spans[i] = {lanes.address[i], lanes.address[i] + lanes.bytes[i]};
  std::sort(spans, spans + lanes.count);
  uint64_t bytes = 0, lines = 0, end = 0, next_line = 0;  // all before `end` and `next_line` is counted
  for (int i = 0; i < lanes.count; i++) {
    const auto [from, to] = spans[i];
    if (to > end) bytes += to - std::max(from, end);
    end = std::max(end, to);
    const uint64_t first = std::max(from / LINE_BYTES, next_line), last = (to - 1) / LINE_BYTES;
    if (last + 1 > first) lines += last + 1 - first;
    next_line = std::max(next_line, last + 1);
  }
  for (Tally* tally : {&site.tally(*lanes.region), &lanes.region->tally}) {
    tally->simd_accesses++;
    tally->lines += lines;
    tally->least_lines += (bytes + LINE_BYTES - 1) / LINE_BYTES;
  }
}

}  // namespace emulator
