// The kernels on their own, without MLX and Python: for sanitizers, other compilers and other machines.
//
//   driver              all
//   driver attention    one; names as printed
#include <cstdio>
#include <cstring>

#include "../runtime/thread_pool.h"
#include "drive.h"
#include "every_level.h"

int main(int argc, char** argv) {
  using namespace course;
  ThreadPool serial(1), threads(4);
  int ran = 0;
  std::printf("products of bytes  %s\n", name_of(best_byte_products()));
  auto drive = [&](const char* name, auto kernel) {
    if (argc > 1 && std::strcmp(argv[1], name) != 0) return;
    std::printf("%-18s %4d cases\n", name, kernel());
    ran++;
  };
  drive("thread_pool", [] { return drive_thread_pool(); });
  drive("quantized_matmul", [&] { return drive_quantized_matmul(serial, threads); });
  drive("panel_matmul", [&] { return drive_panel_matmul(serial, threads); });
  drive("panel_floats", [&] { return drive_panel_floats(serial, threads); });
  drive("attention", [&] { return drive_attention(serial, threads); });
  drive("rms_norm", [&] { return drive_rms_norm(serial, threads); });
  drive("rope", [&] { return drive_rope(serial, threads); });
  drive("swiglu", [&] { return drive_swiglu(serial, threads); });
  drive("decoder_layer", [&] { return drive_decoder_layer(serial, threads); });
  drive("fork", [] { return drive_fork(); });
  if (ran == 0) std::printf("nothing is called %s\n", argv[1]);
  return ran == 0;
}
