// The operations as Python functions. course_lib.kernels gives them their names and documentation.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include "../reference/processor.h"
#include "decoder.h"
#include "ladder.h"
#include "operations.h"
#include "thread_pool.h"

namespace nb = nanobind;
using namespace nb::literals;

NB_MODULE(_ext, m) {
  m.def("quantized_matmul", &course::quantized_matmul, "x"_a, "weight"_a, "stream"_a = nb::none());
  // Both know their shared pointer themselves. Else nanobind would make one from the Python object, whose last copy takes
  // the GIL when it goes: on MLX's thread, for which whoever holds the GIL may be waiting.
  nb::class_<course::Weight>(m, "Weight")
      .def(nb::new_([](const course::Packed& arrays, const std::optional<mlx::core::array>& bias, bool int8) {
             return std::make_shared<course::Weight>(arrays, bias, int8);
           }),
           "arrays"_a, "bias"_a = nb::none(), "int8"_a = false, nb::call_guard<nb::gil_scoped_release>())
      .def_prop_ro("nbytes", &course::Weight::nbytes);
  m.def("linear", &course::linear, "x"_a, "weight"_a, "stream"_a = nb::none());
  m.def("attention", &course::attention, "queries"_a, "keys"_a, "values"_a, "scale"_a, "causal"_a,
        "mask"_a.none(), "stream"_a = nb::none());
  m.def("rms_norm", &course::rms_norm, "x"_a, "weight"_a, "eps"_a, "stream"_a = nb::none());
  m.def("rope", &course::rope, "x"_a, "dims"_a, "traditional"_a, "base"_a.none(), "scale"_a, "offset"_a,
        "freqs"_a.none(), "stream"_a = nb::none());
  m.def("swiglu", &course::swiglu, "gate"_a, "up"_a, "stream"_a = nb::none());
  m.def("project", &course::project, "x"_a, "norm"_a, "eps"_a, "q"_a, "k"_a, "v"_a, "head_dim"_a, "traditional"_a,
        "base"_a, "scale"_a, "offset"_a, "stream"_a = nb::none());
  m.def("add_linear", &course::add_linear, "residual"_a, "x"_a, "weight"_a, "stream"_a = nb::none());
  m.def("feed_forward", &course::feed_forward, "x"_a, "norm"_a, "eps"_a, "gate"_a, "up"_a, "down"_a,
        "stream"_a = nb::none());
  nb::class_<course::Decoder>(m, "Decoder")
      .def(nb::new_([](int heads, int kv_heads, int head_dim, float eps, float scale, bool traditional,
                       std::vector<double> speeds, const std::vector<course::Decoder::LayerArrays>& layers) {
             return std::make_shared<course::Decoder>(heads, kv_heads, head_dim, eps, scale, traditional,
                                                      std::move(speeds), layers);
           }),
           "heads"_a, "kv_heads"_a, "head_dim"_a, "eps"_a, "scale"_a, "traditional"_a, "speeds"_a, "layers"_a,
           nb::call_guard<nb::gil_scoped_release>());
  m.def("decode", &course::decode, "decoder"_a, "h"_a, "keys"_a, "values"_a, "segments"_a, "lengths"_a,
        "capacity"_a = 0, "stream"_a = nb::none());
  nb::class_<course::LoadedQuantizedMatmul>(m, "LoadedQuantizedMatmul")
      .def(nb::init<const std::string&, const std::string&>(), "library"_a, "rung"_a);
  m.def("quantized_matmul_by", &course::quantized_matmul_by, "kernel"_a, "x"_a, "weight"_a, "stream"_a = nb::none());
  nb::class_<course::LoadedAttention>(m, "LoadedAttention")
      .def(nb::init<const std::string&, const std::string&>(), "library"_a, "rung"_a);
  m.def("attention_by", &course::attention_by, "kernel"_a, "queries"_a, "keys"_a, "values"_a, "scale"_a, "causal"_a,
        "mask"_a.none(), "stream"_a = nb::none());
  nb::enum_<course::ByteProducts>(m, "ByteProducts")
      .value("spelt_out", course::ByteProducts::spelt_out)
      .value("dot", course::ByteProducts::dot)
      .value("tiles", course::ByteProducts::tiles);
  m.def("byte_products", &course::byte_products);
  m.def("limit_byte_products", &course::limit_byte_products, "most"_a);
  m.def("multiply_floats", &course::multiply_floats, "always"_a);
  m.def("threads", [] { return course::shared_pool()->workers(); });
  m.def("set_threads", &course::set_threads, "threads"_a);
}
