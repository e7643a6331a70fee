// Starting the kernels of one neuron, and the table that the op glue reads. No torch.
#pragma once

#include "ops/cuda/plan.h"

namespace snn {

struct CudaKernels {
  void (*forward)(const NeuronArgs&, const ForwardOut&, const DeviceFacts&, void* stream);
  BackwardPlan (*plan_backward)(const NeuronArgs&, bool want_params, const DeviceFacts&);
  // io.grad_params: nullptr, or [rows of params, N] Real (channels > 1), or [rows, plan.grid] double
  void (*backward)(const NeuronArgs&, const BackwardIo&, const BackwardPlan&, void* checkpoints, void* stream);
};

// Kernels of neuron `which` for arithmetic in float or double; which % kCudaParts == part (see neurons.cu,
// cmake/SnnCuda.cmake).
#if !defined(SNN_PARTS)
#define SNN_PARTS 1
#endif
constexpr int kCudaParts = SNN_PARTS;
template <int part>
const CudaKernels* cuda_kernels_part(int which, bool is_double);

// [rows, N] gradients per lane -> `partial` [rows, splits, N / outer] -> [rows, channels], in a fixed order. With one
// channel `partial` [rows, splits] comes from the kernels above.
struct SumShape {
  int64_t rows, N, channels, inner, splits;
  SNN_HD int64_t columns() const { return channels * inner; }
};
int64_t channel_splits(int64_t N, int64_t columns, const DeviceFacts& device);
void sum_lanes(DType dtype, const SumShape& shape, const void* lanes, double* partial, void* stream);
void sum_partials(DType dtype, const SumShape& shape, const double* partial, void* out, void* stream);

}  // namespace snn
