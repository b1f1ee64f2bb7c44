// Notebook 04's ladder: attention in four rungs, each one idea better than the one before.
//
//   naive    attention_naive.cpp    the definition: all scores of a query, their softmax, the weighted sum
//   tiled    attention_tiled.cpp    keys in tiles, with an online softmax: no row of scores is ever whole
//   vectors  attention_vectors.cpp  as many numbers at a time as a vector has lanes
//   threads  attention.cpp          blocks of queries, or spans of keys, handed out to several threads
//
// The last rung is the kernel that the model runs on.
#pragma once

#include "attention.h"

namespace course {

// out = softmax(scale * q k^T + mask) v, for each head; shapes and masks as in attention.h.
//
//   scratch   as many floats as the rung's AttentionScratch says
//   parallel  the threads to run on
using AttentionKernel = void(const Heads& q, const Heads& k, const Heads& v, const HeadsOut& out, const Mask& mask,
                             const AttentionSize& size, float scale, float* scratch, Parallel& parallel);

// Floats of scratch memory for a problem on `workers` threads.
using AttentionScratch = size_t(const AttentionSize& size, int workers);

struct AttentionRung {
  const char* name;
  AttentionKernel* run;
  AttentionScratch* scratch;
};

// The rung with this name; nullptr if there is none.
const AttentionRung* attention_rung(const char* name);

AttentionKernel attention_tiled, attention_vectors;
AttentionScratch attention_tiled_scratch;  // of both

}  // namespace course
