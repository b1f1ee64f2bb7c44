// An MLX primitive that runs on the CPU only.
//
// MLX builds a graph first: an operation returns an array that knows its primitive and its inputs. When
// the array is needed MLX calls eval_cpu on the thread that evaluates; this allocates the output and
// dispatches the computation to the stream, whose own thread runs it. Between the two calls inputs may
// still be under way: what is dispatched may read them, eval_cpu may not.
//
// https://ml-explore.github.io/mlx/build/html/dev/extensions.html
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include "mlx/allocator.h"
#include "mlx/backend/cpu/encoder.h"
#include "mlx/primitives.h"

namespace course {

namespace mx = mlx::core;

class CpuPrimitive : public mx::Primitive {
 public:
  explicit CpuPrimitive(mx::Stream stream) : Primitive(stream) {}

  void eval_cpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    eval(inputs, outputs, mx::cpu::get_command_encoder(stream()));
  }

  void eval_gpu(const std::vector<mx::array>&, std::vector<mx::array>&) override {
    throw std::runtime_error(std::string(name()) + " runs on the CPU only; pass stream=mx.cpu");
  }

 protected:
  virtual void eval(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs,
                    mx::cpu::CommandEncoder& encoder) = 0;

  // Room for a result whose elements lie in order.
  static void allocate(mx::array& out) { out.set_data(mx::allocator::malloc(out.nbytes())); }
};

}  // namespace course
