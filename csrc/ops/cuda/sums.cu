// Parameter gradients of all lanes to those of the channels. Every sum has one order, so results do not vary.
#include "ops/cuda/kernels.h"
#include "ops/cuda/launch.h"

namespace snn {

namespace {

constexpr int kSumThreads = 128;

// Column by column over the rows s, s + splits, ... of the matrix [outer, columns] that the lanes of one parameter are:
// neighbouring threads read neighbouring lanes whatever the number of channels.
template <class Real>
__global__ void __launch_bounds__(kSumThreads) lanes_kernel(const SumShape shape, const Real* lanes, double* partial) {
  const int64_t columns = shape.columns(), width = shape.splits * columns, all = shape.rows * width;
  for (int64_t k = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; k < all; k += int64_t(gridDim.x) * blockDim.x) {
    const int64_t row = k / width;
    const Real* from = lanes + row * shape.N;
    double sum = 0;
    for (int64_t j = k - row * width; j < shape.N; j += width) sum += double(from[j]);
    partial[k] = sum;
  }
}

// One block per sum.
template <class Real>
__global__ void __launch_bounds__(kSumThreads) partials_kernel(const SumShape shape, const double* partial, Real* out) {
  const int64_t columns = shape.columns(), count = shape.splits * shape.inner;
  for (int64_t k = blockIdx.x; k < shape.rows * shape.channels; k += gridDim.x) {
    const int64_t row = k / shape.channels, channel = k - row * shape.channels;
    const double* from = partial + row * shape.splits * columns + channel * shape.inner;
    double sum = 0;
    for (int64_t j = threadIdx.x; j < count; j += blockDim.x)
      sum += from[(j / shape.inner) * columns + j % shape.inner];
    sum = block_sum(sum);
    if (threadIdx.x == 0) out[k] = Real(sum);
  }
}

int64_t most(int64_t blocks) { return blocks < kMostBlocks ? blocks : kMostBlocks; }

}  // namespace

int64_t channel_splits(int64_t N, int64_t columns, const DeviceFacts& device) {
  constexpr int64_t kRowsOfASplit = 16;
  const int64_t outer = N / columns, wanted = int64_t(device.multiprocessors) * device.threads / columns + 1;
  const int64_t most_splits = (outer + kRowsOfASplit - 1) / kRowsOfASplit;
  return wanted < most_splits ? wanted : most_splits;
}

void sum_lanes(DType dtype, const SumShape& shape, const void* lanes, double* partial, void* stream) {
  const int64_t blocks = most((shape.rows * shape.splits * shape.columns() + kSumThreads - 1) / kSumThreads);
  if (blocks == 0) return;
  if (dtype == DType::kDouble) {
    launch(lanes_kernel<double>, blocks, kSumThreads, 0, stream, shape, static_cast<const double*>(lanes), partial);
  } else {
    launch(lanes_kernel<float>, blocks, kSumThreads, 0, stream, shape, static_cast<const float*>(lanes), partial);
  }
}

void sum_partials(DType dtype, const SumShape& shape, const double* partial, void* out, void* stream) {
  const int64_t blocks = most(shape.rows * shape.channels);
  const int threads = shape.splits * shape.inner < kSumThreads ? 32 : kSumThreads;
  const int shared = threads * int(sizeof(double));
  if (dtype == DType::kDouble) {
    launch(partials_kernel<double>, blocks, threads, shared, stream, shape, partial, static_cast<double*>(out));
  } else {
    launch(partials_kernel<float>, blocks, threads, shared, stream, shape, partial, static_cast<float*>(out));
  }
}

}  // namespace snn
