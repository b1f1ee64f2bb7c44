// Rungs of the notebooks' ladders as MLX operations: those that came with the course, and a learner's, which
// is compiled to a library of its own and loaded while the notebook runs.
#pragma once

#include <optional>
#include <string>

#include "../reference/quantized_matmul_ladder.h"
#include "mlx/array.h"
#include "mlx/utils.h"
#include "packed.h"

namespace course {

namespace mx = mlx::core;

struct AttentionRung;

// A function of a freshly loaded library. The library stays loaded: results that are not computed yet, and
// callables that a notebook has kept, still call into it.
//
// Loading the same path again gives the same library, whatever the file holds by then: every build needs a
// path of its own. Throws std::runtime_error with the system's words.
void* symbol_of(const std::string& library, const char* symbol);

// What Python holds of a rung.
struct LoadedQuantizedMatmul {
  // From the library at this path; from this extension if the path is empty.
  // Throws std::invalid_argument if there is no rung of this name.
  LoadedQuantizedMatmul(const std::string& library, const std::string& rung);

  const QuantizedMatmulRung* rung;
};

mx::array quantized_matmul_by(const LoadedQuantizedMatmul& kernel, const mx::array& x, const Packed& weight,
                              mx::StreamOrDevice where);

// The same of attention.
struct LoadedAttention {
  LoadedAttention(const std::string& library, const std::string& rung);

  const AttentionRung* rung;
};

// As `attention` in operations.h, by this kernel.
mx::array attention_by(const LoadedAttention& kernel, const mx::array& queries, const mx::array& keys,
                       const mx::array& values, float scale, bool causal, const std::optional<mx::array>& mask,
                       mx::StreamOrDevice where);

}  // namespace course
