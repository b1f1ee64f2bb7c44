// What a library with a learner's rung of attention shows to the extension that loads it.
#include "../../reference/attention_ladder.h"

extern "C" __attribute__((visibility("default"))) const course::AttentionRung* course_attention(const char* rung) {
  return course::attention_rung(rung);
}
