// Wild pointers, traps and endless loops become findings.
#pragma once

namespace emulator {

// `finish` writes the report. It is called from a signal handler: what it reports of is over.
void catch_faults(double seconds, void (*finish)());

}  // namespace emulator
