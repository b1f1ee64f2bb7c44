// Run one kernel: `driver REQUEST REPORT`. The kernel is linked into this program; see request.h and report.cpp for
// the two files.
#include <cstdio>
#include <cstdlib>

#include "faults.h"
#include "launch.h"
#include "report.h"

static const char* report_path;

void leave_for_good() {
  emulator::write_report(*emulator::current, report_path);
  std::_Exit(0);
}

int main(int count, char** words) {
  if (count != 3) {
    std::fprintf(stderr, "usage: %s REQUEST REPORT\n", words[0]);
    return 2;
  }
  report_path = words[2];
  auto request = emulator::Request::open(words[1]);
  emulator::current = new emulator::Launch(request);
  emulator::catch_faults(request.header->seconds, leave_for_good);
  emulator::current->run();
  emulator::current->copy_outputs();
  leave_for_good();
}
