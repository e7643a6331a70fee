// Neuron ops on CUDA: the time loop of core/time_loop.h with one lane per thread, states in registers.
//
// Neighbouring threads hold neighbouring lanes, so every access is coalesced. Backward keeps h of all steps in a
// scratch tensor that lives only during the call; parameter gradients are summed in a fixed order, so results do not
// vary.
#include <cuda_runtime.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/macros.h>

#include <algorithm>

#include "core/codec.h"
#include "core/surrogate.h"
#include "core/time_loop.h"
#include "ops/neuron_call.h"

namespace snn {

// torch's CUDA allocator keeps freed blocks by itself.
bool tensor_from_block(const std::vector<int64_t>&, const std::vector<int64_t>&, int64_t, int32_t, AtenTensorHandle*) {
  return false;
}

namespace {

constexpr int kThreads = 256;

// The surrogate of this call. The branch is the same for all threads.
template <class Real>
struct DeviceSurrogate {
  int which;
  SurrogateArgs<Real> args;

  __device__ __forceinline__ void step(const Real* u, const Real* a, Real* out, int) const {
    out[0] = pick(Surrogates{}, [&](auto s) { return decltype(s)::step(u[0], with(a)); });
  }
  __device__ __forceinline__ void grad(const Real* h, Real v_threshold, Real* out, int) const {
    out[0] = pick(Surrogates{}, [&](auto s) { return decltype(s)::grad(h[0] - v_threshold, args); });
  }
  __device__ __forceinline__ void grad(const Real* u, const Real* a, Real* out, int) const {
    out[0] = pick(Surrogates{}, [&](auto s) { return decltype(s)::grad(u[0], with(a)); });
  }
  __device__ __forceinline__ void grad_alpha(const Real* u, const Real* a, Real* out, int) const {
    out[0] = pick(Surrogates{}, [&](auto s) { return decltype(s)::grad_alpha(u[0], with(a)); });
  }

 private:
  __device__ __forceinline__ SurrogateArgs<Real> with(const Real* a) const { return {a ? *a : args.a, args.b}; }
  template <class... S, class F>
  __device__ __forceinline__ Real pick(SurrogateList<S...>, const F& f) const {
    Real result = Real(0);
    int k = 0;
    ((k++ == which ? (result = f(S{}), 0) : 0), ...);
    return result;
  }
};

// One lane of a tensor [T, N].
template <class Scalar, class Real>
struct LaneIo {
  const Scalar *x_base, *grad_spike_base;
  int64_t x_stride, grad_spike_stride, N;
  const Real* grad_v_base;
  Scalar *spike_base, *grad_x_base;
  Real* v_base;
  Real x_now, grad_now, grad_v_now, out_now, v_now;

  static constexpr int strip = 1;
  __device__ const Real* x(int64_t t, int, int) {
    x_now = decode(x_base[t * x_stride]);
    return &x_now;
  }
  __device__ const Real* x_again(int64_t t, int i, int m) { return x(t, i, m); }
  __device__ const Real* grad_spike(int64_t t, int, int) {
    grad_now = grad_spike_base ? decode(grad_spike_base[t * grad_spike_stride]) : Real(0);
    return &grad_now;
  }
  __device__ const Real* grad_v_seq(int64_t t, int, int) {
    if (!grad_v_base) return nullptr;
    grad_v_now = grad_v_base[t * N];
    return &grad_v_now;
  }
  __device__ Real* spike(int64_t, int) { return &out_now; }
  __device__ void put_spike(int64_t t, int, int) { spike_base[t * N] = encode(out_now, static_cast<Scalar*>(nullptr)); }
  __device__ Real* v_seq(int64_t, int) { return v_base ? &v_now : nullptr; }
  __device__ void put_v_seq(int64_t t, int, int) { v_base[t * N] = v_now; }
  __device__ Real* grad_x(int64_t, int) { return &out_now; }
  __device__ void put_grad_x(int64_t t, int, int) {
    grad_x_base[t * N] = encode(out_now, static_cast<Scalar*>(nullptr));
  }
};

// What every thread gets by value.
template <class Neuron, class Real>
struct DeviceCall {
  static constexpr int kParams = Neuron::params + 2;  // v_threshold, the neuron's own, alpha
  NeuronArgs a;  // its host pointers (state_rest, numbers) are not used on the device
  Law<Real, DeviceSurrogate<Real>> law;
  Real numbers[kParams];
  Real rest[Neuron::states];

  explicit DeviceCall(const NeuronArgs& args)
      : a(args),
        law{Reset<Real>::make(ResetKind(args.reset), Real(args.v_reset), args.detach_reset),
            {int(args.surrogate), {Real(args.surrogate_a), Real(args.surrogate_b)}},
            {},
            args.detach_state} {
    for (int k = 0; k < Neuron::constants; ++k) law.constants.value[k] = Real(args.numbers[1 + Neuron::params + k]);
    for (int k = 0; k <= Neuron::params; ++k) numbers[k] = Real(args.numbers[k]);
    numbers[kParams - 1] = Real(args.surrogate_a);
    for (int k = 0; k < Neuron::states; ++k) rest[k] = Real(args.state_rest[k]);
  }

  __device__ void load(int64_t lane, Real* state, Real* lane_params) const {
    for (int k = 0; k < Neuron::states; ++k)
      state[k] = a.state_init ? static_cast<const Real*>(a.state_init)[k * a.N + lane] : rest[k];
    for (int k = 0; k < kParams; ++k) {
      const bool given = a.params && (k < kParams - 1 || a.has_alpha);
      lane_params[k] =
          given ? static_cast<const Real*>(a.params)[k * a.channels + (lane / a.inner) % a.channels] : numbers[k];
    }
  }
};

template <class Neuron, class Scalar, bool kSmooth, class Real>
__global__ void __launch_bounds__(kThreads) forward_kernel(DeviceCall<Neuron, Real> call, ForwardOut out) {
  const int64_t N = call.a.N;
  for (int64_t lane = blockIdx.x * int64_t(kThreads) + threadIdx.x; lane < N; lane += int64_t(gridDim.x) * kThreads) {
    Real state[Neuron::states], params[call.kParams], spikes[Neuron::fires];
    call.load(lane, state, params);
    LaneIo<Scalar, Real> io{};
    io.x_base = static_cast<const Scalar*>(call.a.x_seq) + lane;
    io.x_stride = call.a.x_stride;
    io.N = N;
    io.spike_base = static_cast<Scalar*>(out.spike_seq) + lane;
    io.v_base = out.v_seq ? static_cast<Real*>(out.v_seq) + lane : nullptr;
    const Params<Neuron, true, Real> rows{{}, {params, 1}};
    forward_tile<kSmooth>(call.law, rows, io, Rows<Real>{state, 1}, Rows<Real>{spikes, 1}, call.a.T, 1);
    for (int k = 0; k < Neuron::states; ++k)
      if (out.state_last) static_cast<Real*>(out.state_last)[k * N + lane] = state[k];
  }
}

template <class Neuron, class Scalar, bool kSmooth, class Real>
__global__ void __launch_bounds__(kThreads) backward_kernel(DeviceCall<Neuron, Real> call, BackwardIo b, Real* kept) {
  constexpr int S = Neuron::states, P = call.kParams, F = Neuron::fires;
  const int64_t N = call.a.N;
  for (int64_t lane = blockIdx.x * int64_t(kThreads) + threadIdx.x; lane < N; lane += int64_t(gridDim.x) * kThreads) {
    Real state[S], running[S], grad_state[S], params[P], grad_params[P] = {}, sg[F], spike[F], before[F], fire[F];
    call.load(lane, state, params);
    for (int k = 0; k < S; ++k)
      grad_state[k] = b.grad_state_last ? static_cast<const Real*>(b.grad_state_last)[k * N + lane] : Real(0);
    LaneIo<Scalar, Real> io{};
    io.x_base = static_cast<const Scalar*>(call.a.x_seq) + lane;
    io.x_stride = call.a.x_stride;
    io.N = N;
    io.grad_spike_base = b.grad_spike_seq ? static_cast<const Scalar*>(b.grad_spike_seq) + lane : nullptr;
    io.grad_spike_stride = b.grad_spike_stride;
    io.grad_v_base = b.grad_v_seq ? static_cast<const Real*>(b.grad_v_seq) + lane : nullptr;
    io.grad_x_base = static_cast<Scalar*>(b.grad_x_seq) + lane;
    const Params<Neuron, true, Real> rows_of_params{{}, {params, 1}};
    const BackwardRows<Real> rows{{state, 1},       {running, 1},     {kept + lane, N},
                                  {grad_state, 1},  {grad_params, 1}, call.a.has_alpha ? grad_params + P - 1 : nullptr,
                                  {sg, 1},          {spike, 1},       {before, 1},
                                  {fire, 1}};
    backward_tile<kSmooth, true>(call.law, rows_of_params, io, rows, call.a.T, 1);
    for (int k = 0; k < S; ++k)
      if (b.grad_state_init) static_cast<Real*>(b.grad_state_init)[k * N + lane] = grad_state[k];
    for (int k = 0; k < P; ++k)
      if (b.grad_params && (k < P - 1 || call.a.has_alpha))
        static_cast<Real*>(b.grad_params)[k * N + lane] = grad_params[k];
  }
}

// [P, N] -> [P, channels]: one block per sum, fixed order.
template <class Real>
__global__ void __launch_bounds__(kThreads)
    reduce_kernel(const Real* lanes, Real* out, int64_t N, int64_t channels, int64_t inner) {
  __shared__ double partial[kThreads];
  const int64_t k = blockIdx.x / channels, c = blockIdx.x % channels;
  const int64_t count = N / channels;  // lanes of one channel
  double sum = 0;
  for (int64_t j = threadIdx.x; j < count; j += kThreads)
    sum += double(lanes[k * N + (j / inner) * channels * inner + c * inner + j % inner]);
  partial[threadIdx.x] = sum;
  __syncthreads();
  for (int half = kThreads / 2; half > 0; half /= 2) {
    if (int(threadIdx.x) < half) partial[threadIdx.x] += partial[threadIdx.x + half];
    __syncthreads();
  }
  if (threadIdx.x == 0) out[k * channels + c] = Real(partial[0]);
}

cudaStream_t current_stream(const Tensor& x) {
  void* stream = nullptr;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(x.get_device(), &stream));
  return static_cast<cudaStream_t>(stream);
}

unsigned blocks_for(int64_t N) { return unsigned(std::min<int64_t>((N + kThreads - 1) / kThreads, int64_t(1) << 20)); }

// Calls f with a null pointer of the element type.
template <class F>
void with_scalar(DType dtype, const F& f) {
  switch (dtype) {
    case DType::kFloat:
      return f(static_cast<float*>(nullptr));
    case DType::kDouble:
      return f(static_cast<double*>(nullptr));
    case DType::kBFloat16:
      return f(static_cast<BFloat16*>(nullptr));
    case DType::kHalf:
      return f(static_cast<Half*>(nullptr));
  }
}

template <class... N>
struct NeuronAt;
template <int k, class First, class... Rest>
struct NeuronPick {
  using type = typename NeuronPick<k - 1, Rest...>::type;
};
template <class First, class... Rest>
struct NeuronPick<0, First, Rest...> {
  using type = First;
};
template <int k, class... N>
typename NeuronPick<k, N...>::type pick_neuron(NeuronList<N...>);

template <int kNeuron>
Three forward(const Tensor x_seq, const Maybe state_init, const Maybe params, int64_t inner, Numbers numbers,
              int64_t reset, bool detach_reset, bool detach_state, int64_t surrogate, bool smooth, bool keep_state, bool keep_v_seq) {
  using Neuron = decltype(pick_neuron<kNeuron>(Neurons{}));
  const torch::stable::accelerator::DeviceGuard guard(x_seq.get_device());
  ForwardCall call(neuron_facts(Neurons{}, kNeuron), x_seq, state_init, params,
                   {inner, std::move(numbers), reset, detach_reset, detach_state, surrogate, smooth}, keep_state, keep_v_seq);
  if (call.args.N == 0) return call.result();
  with_scalar(call.dtype, [&](auto* tag) {
    using Scalar = std::remove_pointer_t<decltype(tag)>;
    using Real = typename RealOf<Scalar>::type;
    const DeviceCall<Neuron, Real> device(call.args);
    const cudaStream_t stream = current_stream(x_seq);
    const unsigned blocks = blocks_for(call.args.N);
    if constexpr (sizeof(Real) == 8) {
      if (smooth) {
        forward_kernel<Neuron, Scalar, true><<<blocks, kThreads, 0, stream>>>(device, call.out);
        return;
      }
    }
    forward_kernel<Neuron, Scalar, false><<<blocks, kThreads, 0, stream>>>(device, call.out);
  });
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return call.result();
}

template <int kNeuron>
Three backward(const Maybe grad_spike_seq, const Maybe grad_state_last, const Maybe grad_v_seq, const Tensor x_seq,
               const Maybe state_init, const Maybe params, int64_t inner, Numbers numbers, int64_t reset,
               bool detach_reset, bool detach_state, int64_t surrogate, bool smooth, bool want_grad_state, bool want_grad_params) {
  using Neuron = decltype(pick_neuron<kNeuron>(Neurons{}));
  const torch::stable::accelerator::DeviceGuard guard(x_seq.get_device());
  BackwardCall call(neuron_facts(Neurons{}, kNeuron), grad_spike_seq, grad_state_last, grad_v_seq, x_seq, state_init,
                    params, {inner, std::move(numbers), reset, detach_reset, detach_state, surrogate, smooth}, want_grad_state);
  const NeuronArgs& a = call.args;
  const ScalarType state_type = state_dtype(call.dtype);
  const bool want_params = want_grad_params && a.params;
  Tensor lanes = call.nothing(), grad_params = call.nothing();
  if (want_params) {
    lanes = empty_contiguous({call.param_rows(), a.N}, state_type, x_seq);
    grad_params = empty_contiguous({call.param_rows(), a.channels}, state_type, x_seq);
    call.io.grad_params = lanes.mutable_data_ptr();
  }
  const Tensor kept = empty_contiguous({std::max<int64_t>(a.T, 1), Neuron::states, a.N}, state_type, x_seq);
  const cudaStream_t stream = current_stream(x_seq);
  with_scalar(call.dtype, [&](auto* tag) {
    using Scalar = std::remove_pointer_t<decltype(tag)>;
    using Real = typename RealOf<Scalar>::type;
    const DeviceCall<Neuron, Real> device(a);
    Real* h = static_cast<Real*>(kept.mutable_data_ptr());
    const unsigned blocks = blocks_for(a.N);
    bool launched = a.N == 0;
    if constexpr (sizeof(Real) == 8) {
      if (smooth && !launched) {
        backward_kernel<Neuron, Scalar, true><<<blocks, kThreads, 0, stream>>>(device, call.io, h);
        launched = true;
      }
    }
    if (!launched) backward_kernel<Neuron, Scalar, false><<<blocks, kThreads, 0, stream>>>(device, call.io, h);
    if (want_params)
      reduce_kernel<Real><<<unsigned(call.param_rows() * a.channels), kThreads, 0, stream>>>(
          static_cast<const Real*>(lanes.const_data_ptr()), static_cast<Real*>(grad_params.mutable_data_ptr()), a.N,
          a.channels, a.inner);
  });
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
