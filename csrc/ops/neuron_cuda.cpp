// Neuron ops on CUDA: calls checked, memory taken from torch's allocator, kernels (ops/cuda) started on torch's stream.
//
// Nothing here waits for the device or reads its memory, so calls can be captured into a CUDA graph.
#include <cuda_runtime.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/macros.h>

#include <algorithm>
#include <utility>

#include "ops/cuda/launch.h"
#include "ops/cuda/torch_stream.h"
#include "ops/neuron_call.h"

namespace snn {

// torch's CUDA allocator keeps freed blocks by itself.
bool tensor_from_block(const std::vector<int64_t>&, const std::vector<int64_t>&, int64_t, int32_t, AtenTensorHandle*) {
  return false;
}

namespace {

using torch::stable::accelerator::DeviceGuard;

int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  STD_CUDA_CHECK(cudaDeviceGetAttribute(&value, which, device));
  return value;
}

DeviceFacts ask_device(int device) {
  DeviceFacts facts{};
  facts.device = device;
  facts.multiprocessors = attribute(cudaDevAttrMultiProcessorCount, device);
  facts.threads = attribute(cudaDevAttrMaxThreadsPerMultiProcessor, device);
  facts.shared = attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor, device);
  facts.shared_per_block = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  constexpr double kLatency = 800e-9;  // of memory under load, in seconds
  const double clock = 1e3 * attribute(cudaDevAttrMemoryClockRate, device);
  const double bandwidth = 2 * clock * attribute(cudaDevAttrGlobalMemoryBusWidth, device) / 8;
  facts.in_flight = int64_t(bandwidth * kLatency / facts.multiprocessors);
  return facts;
}

DeviceFacts device_facts(int device) {
  static const std::vector<DeviceFacts> all = [] {
    int count = 0;
    STD_CUDA_CHECK(cudaGetDeviceCount(&count));
    std::vector<DeviceFacts> found;
    for (int d = 0; d < count; ++d) found.push_back(ask_device(d));
    return found;
  }();
  return size_t(device) < all.size() ? all[size_t(device)] : ask_device(device);
}

template <int... part>
const CudaKernels& kernels_of(int neuron, DType dtype, std::integer_sequence<int, part...>) {
  const CudaKernels* found = nullptr;
  ((neuron % kCudaParts == part ? void(found = cuda_kernels_part<part>(neuron, dtype == DType::kDouble)) : void()),
   ...);
  return *found;
}
const CudaKernels& kernels_of(int neuron, DType dtype) {
  return kernels_of(neuron, dtype, std::make_integer_sequence<int, kCudaParts>{});
}

template <int kNeuron>
Four forward(const Tensor x_seq, const Maybe state_init, const Maybe params, int64_t inner, Numbers numbers,
             int64_t reset, bool detach_reset, bool detach_state, int64_t surrogate, bool smooth, bool keep_state,
             bool keep_v_seq, MaybeInt samples) {
  const DeviceGuard guard(x_seq.get_device());
  ForwardCall call(neuron_facts(Neurons{}, kNeuron), x_seq, state_init, params,
                   {inner, std::move(numbers), reset, detach_reset, detach_state, surrogate, smooth}, keep_state,
                   keep_v_seq, samples);
  if (call.out.spike_count && call.count_bytes() > 0)
    STD_CUDA_CHECK(
        cudaMemsetAsync(call.out.spike_count, 0, call.count_bytes(), static_cast<cudaStream_t>(current_stream(x_seq))));
  if (call.args.N > 0) {
    kernels_of(kNeuron, call.dtype)
        .forward(call.args, call.out, device_facts(x_seq.get_device()), current_stream(x_seq));
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }
  return call.result();
}

// What backward leaves for the sums over lanes, and the sums.
class ParamGradients {
 public:
  ParamGradients(BackwardCall& call, const BackwardPlan& plan, const DeviceFacts& device)
      : shape_{call.param_rows(), call.args.N, call.args.channels, call.args.inner, plan.grid}, dtype_(call.dtype) {
    const int64_t rows = shape_.rows;
    if (shape_.channels > 1) {
      shape_.splits = channel_splits(shape_.N, shape_.columns(), device);
      lanes_ = empty_contiguous({rows, shape_.N}, state_dtype(dtype_), call.x_seq);
    } else {
      shape_.inner = 1;
    }
    partial_ = empty_contiguous({rows, shape_.splits, shape_.columns()}, ScalarType::Double, call.x_seq);
    sums_ = empty_contiguous({rows, shape_.channels}, state_dtype(dtype_), call.x_seq);
    call.io.grad_params = (lanes_ ? *lanes_ : *partial_).mutable_data_ptr();
  }

  Tensor sum(void* stream) const {
    double* partial = static_cast<double*>(partial_->mutable_data_ptr());
    if (lanes_) sum_lanes(dtype_, shape_, lanes_->const_data_ptr(), partial, stream);
    sum_partials(dtype_, shape_, partial, sums_->mutable_data_ptr(), stream);
    return *sums_;
  }

 private:
  SumShape shape_;
  DType dtype_;
  Maybe lanes_, partial_, sums_;
};

template <int kNeuron>
Three backward(const Maybe grad_spike_seq, const Maybe grad_state_last, const Maybe grad_v_seq, const Tensor x_seq,
               const Maybe state_init, const Maybe params, int64_t inner, Numbers numbers, int64_t reset,
               bool detach_reset, bool detach_state, int64_t surrogate, bool smooth, bool want_grad_state,
               bool want_grad_params) {
  const DeviceGuard guard(x_seq.get_device());
  BackwardCall call(neuron_facts(Neurons{}, kNeuron), grad_spike_seq, grad_state_last, grad_v_seq, x_seq, state_init,
                    params, {inner, std::move(numbers), reset, detach_reset, detach_state, surrogate, smooth},
                    want_grad_state);
  const CudaKernels& kernels = kernels_of(kNeuron, call.dtype);
  const DeviceFacts device = device_facts(x_seq.get_device());
  void* stream = current_stream(x_seq);
  const bool want_params = want_grad_params && call.args.params;
  const BackwardPlan plan = kernels.plan_backward(call.args, want_params, device);
  std::optional<ParamGradients> gradients;
  if (want_params) gradients.emplace(call, plan, device);
  if (call.args.N > 0) {
    const Tensor checkpoints =
        empty_contiguous({plan.checkpoint_bytes(call.facts.states) / 4}, ScalarType::Float, call.x_seq);
    kernels.backward(call.args, call.io, plan, checkpoints.mutable_data_ptr(), stream);
  }
  Tensor grad_params = gradients ? gradients->sum(stream) : call.nothing();
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return {call.grad_x_seq, call.grad_state_init, grad_params};
}

template <int... kNeuron>
void implement(torch::stable::detail::StableLibrary& m, std::integer_sequence<int, kNeuron...>) {
  const auto name = [](int k, const char* suffix) { return std::string(neuron_facts(Neurons{}, k).name) + suffix; };
  (m.impl(name(kNeuron, "_forward").c_str(), TORCH_BOX(&forward<kNeuron>)), ...);
  (m.impl(name(kNeuron, "_backward").c_str(), TORCH_BOX(&backward<kNeuron>)), ...);
}

}  // namespace
}  // namespace snn

STABLE_TORCH_LIBRARY_IMPL(snncore, CUDA, m) {
  snn::implement(m, std::make_integer_sequence<int, snn::Neurons::size>{});
}
