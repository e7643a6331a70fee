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

void zero(int64_t* counts, int64_t elements, void* stream) {
  const size_t bytes = size_t(elements) * sizeof(int64_t);
  if (bytes > 0) STD_CUDA_CHECK(cudaMemsetAsync(counts, 0, bytes, static_cast<cudaStream_t>(stream)));
}

void spike_count_out(const Tensor x, int64_t rows, const std::optional<Tensor> fan_out,
                     const std::optional<Tensor> fan_eff, const std::optional<Tensor> counted, const Tensor out,
                     int64_t start) {
  const DeviceGuard guard(x.get_device());
  const SpikeCountCall call(x, SpikeCountCall::checked_rows(x, rows), fan_out, fan_eff, out, start);
  void* stream = current_stream(x);
  zero(call.args.out, rows * Counts::kColumns, stream);
  if (const int64_t* ones = SpikeCountCall::known(x, rows, counted)) {
    constexpr size_t one = sizeof(int64_t);
    for (int column = 0; rows > 0 && column < 2; ++column)  // nnz and sum_abs
      STD_CUDA_CHECK(cudaMemcpy2DAsync(call.args.out + column, Counts::kColumns * one, ones, one, one, size_t(rows),
                                       cudaMemcpyDeviceToDevice, static_cast<cudaStream_t>(stream)));
    return;
  }
  count_rows_on_device(call.args, rows, stream);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

Tensor spike_count(const Tensor x, int64_t rows, const std::optional<Tensor> fan_out,
                   const std::optional<Tensor> fan_eff) {
  const DeviceGuard guard(x.get_device());
  Tensor out = SpikeCountCall::output(x, rows);
  spike_count_out(x, rows, fan_out, fan_eff, std::nullopt, out, 0);
  return out;
}

Tensor overlap_count(const Tensor left, const Tensor right) {
  const DeviceGuard guard(left.get_device());
  const OverlapCall call(left, right);
  void* stream = current_stream(left);
  zero(call.out, call.counts.numel(), stream);
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
  m.impl("spike_count_out", TORCH_BOX(&snn::spike_count_out));
  m.impl("overlap_count", TORCH_BOX(&snn::overlap_count));
}
