// Checks that keep a kernel inside its tensors. Python raises the friendlier ValueError first (snncore/ops/neuron.py);
// these stand between a direct torch.ops caller and foreign memory. Messages: "op.argument: must be ..., got ...".
#pragma once

#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <optional>
#include <string>

#include "ops/neuron_args.h"

namespace snn {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

inline DType kernel_dtype(const std::string& op, const Tensor& x, const char* name = "x_seq") {
  switch (x.scalar_type()) {
    case ScalarType::Float:
      return DType::kFloat;
    case ScalarType::Double:
      return DType::kDouble;
    case ScalarType::BFloat16:
      return DType::kBFloat16;
    case ScalarType::Half:
      return DType::kHalf;
    default:
      STD_TORCH_CHECK(false, op, ".", name, ": must be float64, float32, bfloat16 or float16; convert it first");
  }
  return DType::kFloat;
}

// The dtype of states and parameters: float64 for float64 input, else float32.
inline ScalarType state_dtype(DType dtype) { return dtype == DType::kDouble ? ScalarType::Double : ScalarType::Float; }

inline bool same_device(const Tensor& a, const Tensor& b) {
  int32_t type_a = 0, type_b = 0;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(a.get(), &type_a));
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(b.get(), &type_b));
  return type_a == type_b && a.get_device() == b.get_device();
}

inline bool same_shape(const Tensor& a, const Tensor& b) {
  if (a.dim() != b.dim()) return false;
  for (int64_t d = 0; d < a.dim(); ++d)
    if (a.size(d) != b.size(d)) return false;
  return true;
}

inline void check_companion(const std::string& op, const char* name, const std::optional<Tensor>& t, const Tensor& x,
                            ScalarType dtype, int64_t numel) {
  if (!t.has_value()) return;
  STD_TORCH_CHECK(t->scalar_type() == dtype, op, ".", name, ": has the wrong dtype for this x_seq (states and ",
                  "parameters are float64 beside float64 and float32 beside every other dtype)");
  STD_TORCH_CHECK(same_device(*t, x), op, ".", name, ": must be on the device of x_seq; move it there");
  STD_TORCH_CHECK(t->numel() == numel, op, ".", name, ": must hold ", numel, " elements, got ", t->numel());
}

}  // namespace snn
