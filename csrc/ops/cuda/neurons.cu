// The kernels of every kCudaParts-th neuron of neuron/all.h, from SNN_PART on: parts are compiled side by side.
#include <array>

#include "neuron/all.h"
#include "ops/cuda/kernels.h"
#include "ops/cuda/launch.h"

namespace snn {

namespace {

// True if 16 bytes of states and as many elements of x's dtype can move at once.
template <class Real>
bool aligned(const void* pointer, int64_t stride, int element) {
  const int64_t bytes = int64_t(kThreadLanes<Real>) * element;
  return reinterpret_cast<uintptr_t>(pointer) % bytes == 0 && stride % kThreadLanes<Real> == 0;
}

template <class Real>
int element_of(DType dtype) {
  return dtype == DType::kBFloat16 || dtype == DType::kHalf ? 2 : int(sizeof(Real));
}

template <class Real>
bool can_be_wide(const NeuronArgs& a, const ForwardOut& out) {
  const int element = element_of<Real>(a.dtype), real = sizeof(Real);
  return aligned<Real>(a.x_seq, a.x_stride, element) && aligned<Real>(a.state_init, a.N, real) &&
         aligned<Real>(out.spike_seq, a.N, element) && aligned<Real>(out.state_last, a.N, real) &&
         aligned<Real>(out.v_seq, a.N, real);
}

template <class Real>
bool can_be_wide(const NeuronArgs& a, const BackwardIo& b) {
  const int element = element_of<Real>(a.dtype), real = sizeof(Real);
  return aligned<Real>(a.x_seq, a.x_stride, element) && aligned<Real>(a.state_init, a.N, real) &&
         (!b.grad_spike_seq || aligned<Real>(b.grad_spike_seq, b.grad_spike_stride, element)) &&
         aligned<Real>(b.grad_state_last, a.N, real) && aligned<Real>(b.grad_v_seq, a.N, real) &&
         aligned<Real>(b.grad_x_seq, a.N, element) && aligned<Real>(b.grad_state_init, a.N, real) &&
         (a.channels == 1 || aligned<Real>(b.grad_params, a.N, real));
}

// One number for all lanes is worth a kernel of its own, but not in double, which checks rather than trains.
template <class Real>
constexpr bool kHasPlain = sizeof(Real) == 4;

template <auto kernel>
struct KernelTag {
  static constexpr auto value = kernel;
};

template <class Neuron, class Real>
void forward(const NeuronArgs& a, const ForwardOut& out, const DeviceFacts& device, void* stream) {
  const DeviceCall<Neuron, Real> call(a, can_be_wide<Real>(a, out));
  const int threads = block_threads(a.N, call.V, device);
  const auto go = [&](auto kernel) {
    // The answer is of no interest, but asking gives the kernel its shared memory.
    resident_blocks<decltype(kernel)::value>(device.device, kBlockThreads, kBlockThreads * kRingBytes,
                                             device.shared_per_block);
    launch(kernel.value, blocks_over(a.N, call.V, threads), threads, threads * kRingBytes, stream, call, out);
  };
  if constexpr (kHasSmooth<Real>) {
    if (a.smooth) return go(KernelTag<forward_kernel<Neuron, Real, true, true>>{});
  }
  if constexpr (kHasPlain<Real>) {
    if (a.channels == 1) return go(KernelTag<forward_kernel<Neuron, Real, false, false>>{});
  }
  go(KernelTag<forward_kernel<Neuron, Real, false, true>>{});
}

// Calls f with the kernel of this call. With a row of parameters per lane, or of alpha, gradients are taken whether
// wanted or not: one kernel fewer.
template <class Neuron, class Real, class F>
auto with_backward_kernel(const NeuronArgs& a, bool want_params, const F& f) {
  if constexpr (kHasSmooth<Real>) {
    if (a.smooth) return f(KernelTag<backward_kernel<Neuron, Real, true, true, true>>{});
  }
  if constexpr (kHasPlain<Real>) {
    if (a.channels == 1 && !a.has_alpha && !want_params)
      return f(KernelTag<backward_kernel<Neuron, Real, false, false, false>>{});
  }
  return f(KernelTag<backward_kernel<Neuron, Real, false, true, true>>{});
}

template <class Neuron, class Real>
BackwardPlan plan(const NeuronArgs& a, bool want_params, const DeviceFacts& device) {
  constexpr int V = kThreadLanes<Real>;
  BackwardPlan plan = plan_backward(a, Neuron::states, V, element_of<Real>(a.dtype), device);
  const int64_t blocks = with_backward_kernel<Neuron, Real>(a, want_params, [&](auto kernel) {
    return resident_blocks<decltype(kernel)::value>(device.device, plan.threads, plan.shared, device.shared_per_block);
  });
  const int64_t all = blocks_over(a.N, V, plan.threads), resident = blocks * device.multiprocessors;
  plan.grid = all < resident ? all : resident;
  return plan;
}

template <class Neuron, class Real>
void backward(const NeuronArgs& a, const BackwardIo& b, const BackwardPlan& plan, void* checkpoints, void* stream) {
  const DeviceCall<Neuron, Real> call(a, can_be_wide<Real>(a, b));
  with_backward_kernel<Neuron, Real>(a, b.grad_params, [&](auto kernel) {
    launch(kernel.value, plan.grid, plan.threads, plan.shared, stream, call, b, plan.chunk, plan.chunks,
           static_cast<Raw*>(checkpoints));
  });
}

template <int number, class Neuron>
constexpr std::array<CudaKernels, 2> kernels_if_mine() {
  if constexpr (number % kCudaParts == SNN_PART) {
    return {{{forward<Neuron, float>, plan<Neuron, float>, backward<Neuron, float>},
             {forward<Neuron, double>, plan<Neuron, double>, backward<Neuron, double>}}};
  } else {
    return {};
  }
}

template <class... N, int... number>
constexpr std::array<std::array<CudaKernels, 2>, sizeof...(N)> table(NeuronList<N...>,
                                                                     std::integer_sequence<int, number...>) {
  return {{kernels_if_mine<number, N>()...}};
}

constexpr auto kTable = table(Neurons{}, std::make_integer_sequence<int, Neurons::size>{});

}  // namespace

template <>
const CudaKernels* cuda_kernels_part<SNN_PART>(int which, bool is_double) {
  return &kTable[size_t(which)][is_double];
}

}  // namespace snn
