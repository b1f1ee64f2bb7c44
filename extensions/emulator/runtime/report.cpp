#include "report.h"

#include <cstdio>
#include <cstdlib>
#include <string>
#if defined(__APPLE__)
#include <mach-o/dyld.h>
#endif

namespace emulator {

namespace {

// An address as the file has it: macOS loads programs elsewhere.
unsigned long long in_file(uintptr_t pc) {
#if defined(__APPLE__)
  pc -= static_cast<uintptr_t>(_dyld_get_image_vmaddr_slide(0));
#endif
  return pc;
}

// All text is ours or an identifier, but a file's name may hold anything.
std::string quoted(const char* text) {
  std::string json = "\"";
  for (const char* c = text; *c; c++) {
    if (*c == '"' || *c == '\\') json += '\\';
    if (static_cast<unsigned char>(*c) >= ' ') json += *c;
  }
  return json + '"';
}

std::string line_json(const Place& place, uintptr_t pc) {
  char number[40];
  if (place.file) {
    std::snprintf(number, sizeof number, ", \"line\": %d}", place.line);
    return "{\"file\": " + quoted(place.file) + number;
  }
  if (!pc) return "null";
  std::snprintf(number, sizeof number, "{\"pc\": %llu}", in_file(pc));
  return number;
}

std::string tally_json(const Tally& tally) {
  char text[200];
  std::snprintf(text, sizeof text, "[%llu, %llu, %llu, %llu, %llu]", (unsigned long long)tally.bytes_read,
                (unsigned long long)tally.bytes_written, (unsigned long long)tally.simd_accesses,
                (unsigned long long)tally.lines, (unsigned long long)tally.least_lines);
  return text;
}

void write_finding(std::FILE* file, const Finding& f) {
  std::fprintf(file, "{\"kind\": %s, \"detail\": %s, \"region\": %d, \"offset\": %lld, \"bytes\": %u, ",
               quoted(f.kind.c_str()).c_str(), quoted(f.detail.c_str()).c_str(), f.region ? f.region->number : -1,
               (long long)f.offset, f.bytes);
  std::fprintf(file, "\"write\": %d, \"other_write\": %d, \"place\": %s, \"other_place\": %s, ", f.write,
               f.other_write, line_json(f.place, f.pc).c_str(), line_json(f.other_place, f.other_pc).c_str());
  std::fprintf(file, "\"threadgroup\": %u, \"thread\": %u, \"other_threadgroup\": %u, \"other_thread\": %u, ",
               f.threadgroup, f.thread, f.other_threadgroup, f.other_thread);
  std::fprintf(file, "\"lanes\": %u, \"missing_lanes\": %u, \"times\": %llu}", f.lanes, f.missing_lanes,
               (unsigned long long)f.times);
}

// Bytes that were read at all, and that were written.
std::pair<uint64_t, uint64_t> touched(const Region& region) {
  uint64_t read = 0, written = 0;
  for (const Cell& cell : region.cells) {
    if (cell.read.threadgroup) read += region.granule_bytes;
    if (cell.write.threadgroup) written += region.granule_bytes;
  }
  return {read, written};
}

}  // namespace

void write_report(const Launch& launch, const char* path) {
  std::FILE* file = std::fopen(path, "w");
  if (!file) {
    std::perror(path);
    std::_Exit(2);
  }
  const char* separator = "";
  std::fprintf(file, "{\"findings\": [");
  for (const Finding& finding : launch.findings.all()) {
    std::fprintf(file, "%s", separator);
    write_finding(file, finding);
    separator = ",\n";
  }
  std::fprintf(file, "],\n\"untold\": %llu,\n\"regions\": [", (unsigned long long)launch.findings.untold());
  separator = "";
  const char* spaces[] = {"device", "constant", "threadgroup"};
  for (const Region* region : launch.memory.regions()) {
    const auto [read, written] = touched(*region);
    std::fprintf(file, "%s{\"name\": %s, \"space\": \"%s\", \"bytes\": %zu, \"element_bytes\": %u, \"tally\": %s, "
                 "\"touched\": [%llu, %llu]}", separator, quoted(region->name.c_str()).c_str(),
                 spaces[region->space], region->bytes, region->element_bytes, tally_json(region->tally).c_str(),
                 (unsigned long long)read, (unsigned long long)written);
    separator = ",\n";
  }
  std::fprintf(file, "],\n\"sites\": [");
  separator = "";
  for (const Site& site : const_cast<Launch&>(launch).sites.all()) {
    std::fprintf(file, "%s{\"pc\": %llu, \"regions\": [", separator, in_file(site.pc));
    for (std::size_t i = 0; i < site.by_region.size(); i++)
      std::fprintf(file, "%s%s", i ? ", " : "", tally_json(site.by_region[i]).c_str());
    std::fprintf(file, "]}");
    separator = ",\n";
  }
  const Traffic& traffic = launch.traffic;
  std::fprintf(file, "],\n\"threadgroup_barriers\": %llu, \"simdgroup_barriers\": %llu, \"simd_operations\": %llu, "
               "\"matrix_operations\": %llu,\n\"touches_complete\": %s, \"touches\": [",
               (unsigned long long)traffic.threadgroup_barriers, (unsigned long long)traffic.simdgroup_barriers,
               (unsigned long long)traffic.simd_operations, (unsigned long long)traffic.matrix_operations,
               traffic.touches_complete() ? "true" : "false");
  separator = "";
  for (const Touch& touch : traffic.touches()) {
    std::fprintf(file, "%s[%u, %u, %u, %llu, %u, %d, %u]", separator, touch.threadgroup, touch.thread, touch.region,
                 (unsigned long long)touch.offset, touch.bytes, touch.write, touch.site);
    separator = ",\n";
  }
  std::fprintf(file, "]}\n");
  std::fclose(file);
}

}  // namespace emulator
