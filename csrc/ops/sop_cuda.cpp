// Counting ops on CUDA. Nothing here waits for the device or reads its memory, so calls can be captured into a graph.
#include <cuda_runtime.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/macros.h>

#include "ops/cuda/counters.h"
#include "ops/cuda/torch_stream.h"
#include "ops/sop_call.h"

namespace snn {
namespace {

using torch::stable::accelerator::DeviceGuard;

void zero(const Tensor& counts, void* stream) {
  const size_t bytes = size_t(counts.numel()) * sizeof(int64_t);
  if (bytes > 0)
    STD_CUDA_CHECK(cudaMemsetAsync(counts.mutable_data_ptr(), 0, bytes, static_cast<cudaStream_t>(stream)));
}

Tensor spike_count(const Tensor x, int64_t rows, const std::optional<Tensor> fan_out,
                   const std::optional<Tensor> fan_eff) {
  const DeviceGuard guard(x.get_device());
  const SpikeCountCall call(x, rows, fan_out, fan_eff);
  void* stream = current_stream(x);
  zero(call.counts, stream);
  count_rows_on_device(call.args, rows, stream);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return call.counts;
}

Tensor overlap_count(const Tensor left, const Tensor right) {
  const DeviceGuard guard(left.get_device());
  const OverlapCall call(left, right);
  void* stream = current_stream(left);
  zero(call.counts, stream);
  overlap_on_device({call.left_at(0), call.right_at(0), call.left_dtype, call.right_dtype, call.batch, call.M, call.N,
                     call.K, call.out},
                    stream);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return call.counts;
}

}  // namespace
}  // namespace snn

STABLE_TORCH_LIBRARY_IMPL(snncore, CUDA, m) {
  m.impl("spike_count", TORCH_BOX(&snn::spike_count));
  m.impl("overlap_count", TORCH_BOX(&snn::overlap_count));
}
