// What the driver drives. Each compares a kernel with its definition in double precision, on one thread
// and on several, prints and exits on the first difference, and returns how many cases it tried.
#pragma once

#include "../reference/parallel.h"

namespace course {

int drive_quantized_matmul(Parallel& serial, Parallel& threads);
int drive_panel_matmul(Parallel& serial, Parallel& threads);
int drive_decoder_layer(Parallel& serial, Parallel& threads);
int drive_panel_floats(Parallel& serial, Parallel& threads);
int drive_attention(Parallel& serial, Parallel& threads);
int drive_rms_norm(Parallel& serial, Parallel& threads);
int drive_rope(Parallel& serial, Parallel& threads);
int drive_swiglu(Parallel& serial, Parallel& threads);
int drive_thread_pool();
int drive_fork();

}  // namespace course
