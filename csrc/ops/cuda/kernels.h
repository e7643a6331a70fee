// The kernels of the neuron ops: the time loop of core/time_loop.h with the lanes of one thread in registers.
#pragma once

#include "core/time_loop.h"
#include "ops/cuda/plan.h"
#include "ops/cuda/surrogates.h"
#include "ops/cuda/tensors.h"

namespace snn {

// What every thread gets by value.
template <class Neuron, class Real>
struct DeviceCall {
  static constexpr int V = kThreadLanes<Real>, S = Neuron::states;
  static constexpr int P = Neuron::params + 2;  // v_threshold, the neuron's own, alpha
  NeuronArgs a;                                 // its host pointers are not used on the device
  Law<Real, DeviceSurrogate<Real>> law;
  Real numbers[P], rest[S];
  bool wide;

  DeviceCall(const NeuronArgs& args, bool w)
      : a(args),
        law{Reset<Real>::make(ResetKind(args.reset), Real(args.v_reset), args.detach_reset),
            {int(args.surrogate), {Real(args.surrogate_a), Real(args.surrogate_b)}},
            {},
            args.detach_state},
        wide(w) {
    static_assert(Neuron::constants <= kMaxConstants, "raise kMaxConstants");
    for (int k = 0; k < Neuron::constants; ++k) law.constants.value[k] = Real(args.numbers[1 + Neuron::params + k]);
    for (int k = 0; k < P - 1; ++k) numbers[k] = Real(args.numbers[k]);
    numbers[P - 1] = Real(args.surrogate_a);
    for (int k = 0; k < S; ++k) rest[k] = Real(args.state_rest[k]);
  }

  SNN_DEVICE void load_state(const ThreadLanes<Real>& lanes, Real* state) const {
    SNN_LANES
    for (int k = 0; k < S; ++k) {
      if (a.state_init) {
        lanes.load(static_cast<const Real*>(a.state_init) + k * a.N, state + k * V);
      } else {
        SNN_LANES
        for (int i = 0; i < V; ++i) state[k * V + i] = rest[k];
      }
    }
  }
  SNN_DEVICE void store_state(const ThreadLanes<Real>& lanes, void* to, const Real* state) const {
    SNN_LANES
    for (int k = 0; k < S; ++k)
      if (to) lanes.store(static_cast<Real*>(to) + k * a.N, state + k * V);
  }

  // v_threshold and parameters: one number each, or (kLanes) filled into `rows` [P * V], alpha included.
  template <bool kLanes>
  SNN_DEVICE Params<Neuron, kLanes, Real> params(const ThreadLanes<Real>& lanes, Real* rows) const {
    Params<Neuron, kLanes, Real> params{{}, {rows, V}};
    const Real* given = static_cast<const Real*>(a.params);
    if constexpr (!kLanes) {
      SNN_LANES
      for (int k = 0; k < P - 1; ++k) params.numbers.value[k] = given ? given[k] : numbers[k];
    } else {
      SNN_LANES
      for (int i = 0; i < V; ++i) {
        const int64_t channel = lanes.inside(i) && a.channels > 1 ? channel_of(lanes.lane(i)) : 0;
        SNN_LANES
        for (int k = 0; k < P; ++k)
          rows[k * V + i] = given && (k < P - 1 || a.has_alpha) ? given[k * a.channels + channel] : numbers[k];
      }
    }
    return params;
  }

 private:
  SNN_DEVICE int64_t channel_of(int64_t lane) const {
    if (a.N >> 31) return (lane / a.inner) % a.channels;
    return uint32_t(lane) / uint32_t(a.inner) % uint32_t(a.channels);  // many times faster
  }
};

template <class Neuron, class Real, bool kSmooth, bool kLanes>
__global__ void __launch_bounds__(kBlockThreads)
    forward_kernel(const DeviceCall<Neuron, Real> call, const ForwardOut out) {
  constexpr int V = call.V, S = call.S;
  const auto lanes = ThreadLanes<Real>::of(blockIdx.x, call.a.N, call.wide);
  if (lanes.first >= lanes.N) return;
  Real state[S * V], spikes[Neuron::fires * V], numbers[kLanes ? call.P * V : 1];
  call.load_state(lanes, state);
  const auto params = call.template params<kLanes>(lanes, numbers);
  ForwardStream<Real> io(lanes, call.a, out);
  forward_tile<kSmooth>(call.law, params, io, Rows<Real>{state, V}, Rows<Real>{spikes, V}, call.a.T, V);
  call.store_state(lanes, out.state_last, state);
}

// Sum over the block, in the same order every time; for thread 0.
SNN_DEVICE double block_sum(double value) {
  double* sums = reinterpret_cast<double*>(shared_memory());
  __syncthreads();
  sums[threadIdx.x] = value;
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  return sums[0];
}

// States at the start of every chunk but the first, in memory of this call that belongs to the resident threads.
template <class Real, int S>
struct Checkpoints {
  Raw* memory;
  int64_t threads, thread;
  static constexpr int V = kThreadLanes<Real>;

  SNN_DEVICE Raw* at(int64_t number, int k) const { return memory + (number * S + k) * threads + thread; }
  SNN_DEVICE void store(int64_t number, const Real* state) const {
    SNN_LANES
    for (int k = 0; k < S; ++k) memcpy(at(number, k), state + k * V, kThreadBytes);
  }
  SNN_DEVICE void load(int64_t number, Real* state) const {
    SNN_LANES
    for (int k = 0; k < S; ++k) memcpy(state + k * V, at(number, k), kThreadBytes);
  }
};

// Backward of the lanes of one thread. grad_params [P * V]: sums over time are added.
template <bool kSmooth, bool kLanes, bool kGradParams, class Neuron, class Real>
SNN_DEVICE void backward_lanes(const DeviceCall<Neuron, Real>& call, const BackwardIo& b, int64_t chunk, int64_t chunks,
                               const ThreadLanes<Real>& lanes, Raw* checkpoint_memory, Real* grad_params) {
  constexpr int V = call.V, S = call.S, F = Neuron::fires, P = call.P;
  const Checkpoints<Real, S> checkpoints{checkpoint_memory, int64_t(gridDim.x) * blockDim.x,
                                         int64_t(blockIdx.x) * blockDim.x + threadIdx.x};
  Real running[S * V], grad_state[S * V], sg[F * V], spike[F * V], before[F * V], fire[F * V];
  Real numbers[kLanes ? P * V : 1];
  const auto params = call.template params<kLanes>(lanes, numbers);
  // Shared memory behind the rings: [the chunk's initial state, then each step][state][thread] * 16 bytes.
  const int64_t width = int64_t(blockDim.x) * V;
  Real* state = reinterpret_cast<Real*>(shared_memory() + (kSlots * blockDim.x + threadIdx.x) * kThreadBytes);
  BackwardRows<Real> rows{};
  rows.state = {state, width};
  rows.running = {running, V};
  rows.kept = {state + S * width, width};
  rows.grad_state = {grad_state, V};
  rows.grad_params = {grad_params, V};
  rows.grad_alpha = grad_params + (kGradParams ? (P - 1) * V : 0);
  rows.learns_alpha = call.a.has_alpha;
  rows.sg = {sg, V};
  rows.spike = {spike, V};
  rows.spike_before = {before, V};
  rows.grad_fire = {fire, V};
  call.load_state(lanes, running);
  SNN_LANES
  for (int k = 0; k < S * V; ++k) grad_state[k] = Real(0);
  SNN_LANES
  for (int k = 0; k < S; ++k)
    if (b.grad_state_last) lanes.load(static_cast<const Real*>(b.grad_state_last) + k * lanes.N, grad_state + k * V);

  BackwardStream<Real, kGradParams || !Neuron::linear> io(lanes, call.a, b, chunk, (chunks - 1) * chunk);
  for (int64_t c = 0; c + 1 < chunks; ++c) {
    forward_tile<kSmooth>(call.law, params, io, rows.running, rows.spike, chunk, V);
    checkpoints.store(c, running);
  }
  for (int64_t c = chunks - 1;; --c) {
    SNN_LANES
    for (int k = 0; k < S; ++k) memcpy(rows.state[k], running + k * V, kThreadBytes);
    io.begin = c * chunk;
    backward_tile<kSmooth, kGradParams>(call.law, params, io, rows, minimum(chunk, call.a.T - io.begin), V);
    if (c == 0) break;
    if (c > 1) {
      checkpoints.load(c - 2, running);
    } else {
      call.load_state(lanes, running);
    }
  }
  call.store_state(lanes, b.grad_state_init, grad_state);
}

template <class Neuron, class Real, bool kSmooth, bool kLanes, bool kGradParams>
__global__ void __launch_bounds__(kBlockThreads)
    backward_kernel(const DeviceCall<Neuron, Real> call, const BackwardIo b, int64_t chunk, int64_t chunks,
                    Raw* checkpoints) {
  constexpr int V = call.V, P = call.P;
  const int64_t tile = int64_t(blockDim.x) * V, N = call.a.N;
  double sums[P] = {};
  for (int64_t k = blockIdx.x; k * tile < N; k += gridDim.x) {
    const auto lanes = ThreadLanes<Real>::of(k, N, call.wide);
    if (lanes.first >= N) break;
    Real grad_params[kGradParams ? P * V : 1] = {};
    backward_lanes<kSmooth, kLanes, kGradParams>(call, b, chunk, chunks, lanes, checkpoints, grad_params);
    if constexpr (kGradParams) {
      SNN_LANES
      for (int p = 0; p < P; ++p) {
        if (call.a.channels > 1) {
          if (b.grad_params && (p < P - 1 || call.a.has_alpha))
            lanes.store(static_cast<Real*>(b.grad_params) + p * N, grad_params + p * V);
        } else {
          SNN_LANES
          for (int i = 0; i < V; ++i) sums[p] += lanes.inside(i) ? double(grad_params[p * V + i]) : 0.0;
        }
      }
    }
  }
  if constexpr (kGradParams) {
    if (!b.grad_params || call.a.channels > 1) return;
    SNN_LANES
    for (int p = 0; p < P; ++p) {
      const double sum = block_sum(sums[p]);
      if (threadIdx.x == 0 && (p < P - 1 || call.a.has_alpha))
        static_cast<double*>(b.grad_params)[int64_t(p) * gridDim.x + blockIdx.x] = sum;
    }
  }
}

}  // namespace snn
