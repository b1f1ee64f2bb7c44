#include "finding.h"

namespace emulator {

static bool same(const Finding& a, const Finding& b) {
  return a.kind == b.kind && a.region == b.region && a.pc == b.pc && a.other_pc == b.other_pc &&
         a.place.line == b.place.line && a.place.file == b.place.file && a.other_place.line == b.other_place.line &&
         a.detail == b.detail;
}

void Findings::add(const Finding& finding) {
  for (Finding& known : all_)
    if (same(known, finding)) {
      known.times++;
      return;
    }
  if (all_.size() < MOST) all_.push_back(finding);
  else untold_++;
}

}  // namespace emulator
