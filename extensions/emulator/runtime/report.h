// The report: what was found and measured, as JSON.
#pragma once

#include "launch.h"

namespace emulator {

void write_report(const Launch& launch, const char* path);

}  // namespace emulator
