// What this processor has for products of bytes, found out when the program runs.
//
// The rest of the kernels is translated for one kind of processor. These instructions are not part of that: code that
// uses them stands beside code that does without, and asks here which of the two may run.
#pragma once

namespace course {

enum class ByteProducts {
  spelt_out,  // in the vectors of every processor
  dot,        // one instruction multiplies and adds four neighbours: byte_dot.h
  tiles,      // one instruction multiplies matrices of bytes: panel_tiles.h
};

// The best that this processor and its operating system offer.
ByteProducts best_byte_products();

// What the kernels use: the best, unless limit_byte_products() was called.
ByteProducts byte_products();

// From now on the kernels use no more than this. For tests and measurements; not while results are still to be computed.
void limit_byte_products(ByteProducts most);

}  // namespace course
