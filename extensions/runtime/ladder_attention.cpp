// A rung of attention, found by its name. The MLX operation that runs it is in attention.cpp.
#include "../reference/attention_ladder.h"
#include "arguments.h"
#include "ladder.h"

namespace course {

LoadedAttention::LoadedAttention(const std::string& library, const std::string& name) {
  auto* find = attention_rung;
  if (!library.empty()) find = reinterpret_cast<decltype(find)>(symbol_of(library, "course_attention"));
  rung = find(name.c_str());
  if (rung == nullptr) refuse("attention", "no rung is called " + name);
}

}  // namespace course
