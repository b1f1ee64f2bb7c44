// Every way to multiply bytes that this processor has, one after the other.
#pragma once

#include "../reference/processor.h"

namespace course {

inline const char* name_of(ByteProducts products) {
  return products == ByteProducts::spelt_out ? "spelt_out" : products == ByteProducts::dot ? "dot" : "tiles";
}

// Calls body() with the kernels limited to each.
template <class Body>
void at_every_level(Body&& body) {
  for (ByteProducts level : {ByteProducts::spelt_out, ByteProducts::dot, ByteProducts::tiles}) {
    if (level > best_byte_products()) break;
    limit_byte_products(level);
    body();
  }
  limit_byte_products(ByteProducts::tiles);
}

}  // namespace course
