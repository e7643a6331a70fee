// Memory for the large outputs of ops on the CPU, reused after their tensors are gone.
#pragma once

#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <vector>

namespace snn {

// A contiguous CPU tensor whose memory comes from a kept block, or nothing where blocks do not apply: small sizes,
// switched off, or a torch without torch_from_blob (2.10).
bool tensor_from_block(const std::vector<int64_t>& sizes, const std::vector<int64_t>& strides, int64_t bytes,
                       int32_t dtype, AtenTensorHandle* out);

}  // namespace snn
