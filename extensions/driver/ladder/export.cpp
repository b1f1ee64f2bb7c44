// What a library with a learner's rung shows to the extension that loads it.
#include "../../reference/quantized_matmul_ladder.h"

extern "C" __attribute__((visibility("default"))) const course::QuantizedMatmulRung* course_quantized_matmul(
    const char* rung) {
  return course::quantized_matmul_rung(rung);
}
