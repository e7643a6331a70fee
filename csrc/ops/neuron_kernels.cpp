// CPU kernels of every neuron, compiled once per instruction set (cmake/SnnIsa.cmake) with SNN_ISA naming the copy.
//
// Nothing here may be shared between the copies: functions are always inlined or static, and no STL header with
// inline functions is included, or the linker could keep the AVX-512 copy of one for every machine.
#include "core/codec.h"
#include "core/surrogate.h"
#include "core/time_loop.h"
#include "ops/isa.h"
#include "ops/rows.h"

#define SNN_CONCAT_(a, b) a##b
#define SNN_CONCAT(a, b) SNN_CONCAT_(a, b)

namespace snn {
namespace {

template <class S, class Real>
void surrogate_step_row(const Real* h, Real v_threshold, Real* out, int n, SurrogateArgs<Real> p) {
  for (int i = 0; i < n; ++i) out[i] = S::step(h[i] - v_threshold, p);
}

template <class S, class Real>
void surrogate_grad_row(const Real* h, Real v_threshold, Real* out, int n, SurrogateArgs<Real> p) {
  SNN_LANES
  for (int i = 0; i < n; ++i) out[i] = S::grad(h[i] - v_threshold, p);
}

// The surrogate of this call, chosen before the loops start.
template <class Real>
struct HostSurrogate {
  using Row = void (*)(const Real*, Real, Real*, int, SurrogateArgs<Real>);
  Row step_row, grad_row;
  SurrogateArgs<Real> args;

  template <class... S>
  static HostSurrogate choose(SurrogateList<S...>, const NeuronArgs& a) {
    constexpr Row steps[] = {surrogate_step_row<S, Real>...};
    constexpr Row grads[] = {surrogate_grad_row<S, Real>...};
    return {steps[a.surrogate], grads[a.surrogate], {Real(a.surrogate_a), Real(a.surrogate_b)}};
  }
  void step(const Real* h, Real v_threshold, Real* out, int n) const { step_row(h, v_threshold, out, n, args); }
  void grad(const Real* h, Real v_threshold, Real* out, int n) const { grad_row(h, v_threshold, out, n, args); }
};

// Which lanes the rows come from. `ahead` lanes follow in the next tile (0 at the end).
struct Place {
  int64_t T, lane;
  int n, ahead;
};

template <class Scalar, class Real>
struct ForwardRows : Place {
  static constexpr int strip = 128;
  Reader<Scalar, Real> x_seq;
  Writer<Scalar, Real> spike_seq;
  Writer<Real, Real> v_out;

  const Real* x(int64_t t, int i, int m) const {
    if (t + 1 < T) {
      x_seq.prefetch(t + 1, lane + i, m);
    } else {
      x_seq.prefetch(0, lane + n + i, minimum(m, ahead - i));
    }
    return x_seq.row(t, lane + i, m);
  }
  Real* spike(int64_t t, int i) const { return spike_seq.row(t, lane + i); }
  void put_spike(int64_t t, int i, int m) const { spike_seq.put(t, lane + i, m); }
  Real* v_seq(int64_t t, int i) const { return v_out.base ? v_out.row(t, lane + i) : nullptr; }
  void put_v_seq(int64_t t, int i, int m) const { v_out.put(t, lane + i, m); }
};

template <class Scalar, class Real>
struct BackwardTensors : Place {
  static constexpr int strip = 256;
  Reader<Scalar, Real> x_seq, grad_spike_seq;
  Reader<Real, Real> grad_v;
  Writer<Scalar, Real> grad_x_seq;
  const Real* zeros;

  // Time runs forward over x, then back over the gradients.
  const Real* x(int64_t t, int i, int m) const {
    if (t + 1 < T) {
      x_seq.prefetch(t + 1, lane + i, m);
    } else if (grad_spike_seq.base) {
      grad_spike_seq.prefetch(t, lane + i, m);
    }
    return x_seq.row(t, lane + i, m);
  }
  const Real* x_again(int64_t t, int i, int m) const { return x_seq.row(t, lane + i, m); }
  const Real* grad_spike(int64_t t, int i, int m) const {
    if (t == 0) x_seq.prefetch(0, lane + n + i, minimum(m, ahead - i));
    if (!grad_spike_seq.base) return zeros;
    if (t > 0) grad_spike_seq.prefetch(t - 1, lane + i, m);
    return grad_spike_seq.row(t, lane + i, m);
  }
  const Real* grad_v_seq(int64_t t, int i, int m) const { return grad_v.base ? grad_v.row(t, lane + i, m) : nullptr; }
  Real* grad_x(int64_t t, int i) const { return grad_x_seq.row(t, lane + i); }
  void put_grad_x(int64_t t, int i, int m) const { grad_x_seq.put(t, lane + i, m); }
};

template <class Scalar>
bool worth_streaming(const NeuronArgs& a) {
  return a.T * a.N * int64_t(sizeof(Scalar)) >= stream_threshold_bytes();
}

template <class Real>
Fire<Real> make_fire(const NeuronArgs& a) {
  const Real v_threshold = Real(a.v_threshold);
  return {v_threshold, Reset<Real>::make(ResetKind(a.reset), v_threshold, Real(a.v_reset), a.detach_reset)};
}

template <class Real>
void fill(Real* row, Real value, int n) {
  for (int i = 0; i < n; ++i) row[i] = value;
}

template <class Real>
void copy(const Real* from, Real* to, int n) {
  for (int i = 0; i < n; ++i) to[i] = from[i];
}

// The values each lane starts from and works with.
template <class Neuron, class Real>
void load_lanes(const NeuronArgs& a, int64_t lane, int n, Rows<Real> state, Rows<Real> params) {
  for (int k = 0; k < Neuron::states; ++k) {
    if (a.state_init) {
      copy(static_cast<const Real*>(a.state_init) + k * a.N + lane, state[k], n);
    } else {
      fill(state[k], Real(a.state_rest[k]), n);
    }
  }
  for (int k = 0; k < Neuron::params; ++k) {
    if (!a.params) {
      fill(params[k], Real(a.numbers[k]), n);
      continue;
    }
    const Real* row = static_cast<const Real*>(a.params) + k * a.channels;
    for (int i = 0; i < n; ++i) params[k][i] = row[((lane + i) / a.inner) % a.channels];
  }
}

template <class Neuron, class Real>
Constants<Real> load_constants(const NeuronArgs& a) {
  static_assert(Neuron::constants <= kMaxConstants, "raise kMaxConstants");
  Constants<Real> c{};
  for (int k = 0; k < Neuron::constants; ++k) c.value[k] = Real(a.numbers[Neuron::params + k]);
  return c;
}

// Smooth firing exists for gradient checks, which are done in float64.
template <class Real>
constexpr bool kHasSmooth = sizeof(Real) == 8;

template <class Neuron, class Scalar>
void forward(const NeuronArgs& a, const ForwardOut& out, int64_t begin, int64_t end, void* scratch) {
  using Real = typename RealOf<Scalar>::type;
  const int64_t tile = forward_tile_lanes(sizeof(Real));
  Scratch<Real> memory{static_cast<Real*>(scratch), tile + int64_t(64 / sizeof(Real))};
  const Rows<Real> state = memory.rows(Neuron::states), params = memory.rows(Neuron::params);
  const auto surrogate = HostSurrogate<Real>::choose(Surrogates{}, a);
  const Fire<Real> fire = make_fire<Real>(a);
  const auto constants = load_constants<Neuron, Real>(a);
  Real* buffers[5];
  for (Real*& row : buffers) row = memory.row();
  const bool stream = worth_streaming<Scalar>(a);
  ForwardRows<Scalar, Real> io{
      {a.T, 0, 0, 0},
      {static_cast<const Scalar*>(a.x_seq), a.x_stride, buffers[0]},
      {static_cast<Scalar*>(out.spike_seq), a.N, stream, buffers[1], reinterpret_cast<Scalar*>(buffers[2])},
      {static_cast<Real*>(out.v_seq), a.N, stream, buffers[3], buffers[4]}};
  for (int64_t lane = begin; lane < end; lane += tile) {
    const int n = int(minimum(tile, end - lane));
    io.lane = lane;
    io.n = n;
    io.ahead = int(minimum(tile, end - lane - n));
    load_lanes<Neuron>(a, lane, n, state, params);
    if (kHasSmooth<Real> && a.smooth) {
      forward_tile<Neuron, kHasSmooth<Real>>(fire, surrogate, constants, params, io, state, a.T, n);
    } else {
      forward_tile<Neuron, false>(fire, surrogate, constants, params, io, state, a.T, n);
    }
    for (int k = 0; k < Neuron::states; ++k)
      if (out.state_last) copy(state[k], static_cast<Real*>(out.state_last) + k * a.N + lane, n);
  }
  if (stream) stream_fence();
}

// Sums over time arrive per lane; with one channel they are summed over the lanes of the tile right here.
template <class Neuron, class Real>
void store_grad_params(const NeuronArgs& a, const BackwardIo& b, Rows<Real> grad_params, int64_t lane, int n,
                       int64_t tile) {
  const int64_t tiles = (a.N + tile - 1) / tile;
  for (int k = 0; k < Neuron::params; ++k) {
    if (a.channels > 1) {
      copy(grad_params[k], static_cast<Real*>(b.grad_params) + k * a.N + lane, n);
      continue;
    }
    double sum = 0;
    for (int i = 0; i < n; ++i) sum += double(grad_params[k][i]);
    static_cast<double*>(b.grad_params)[k * tiles + lane / tile] = sum;
  }
}

template <class Neuron, class Scalar>
void backward(const NeuronArgs& a, const BackwardIo& b, int64_t begin, int64_t end, void* scratch) {
  using Real = typename RealOf<Scalar>::type;
  const int64_t tile = backward_tile_lanes(a.T, Neuron::states, sizeof(Real));
  Scratch<Real> memory{static_cast<Real*>(scratch), tile + int64_t(64 / sizeof(Real))};
  constexpr int S = Neuron::states, P = Neuron::params;
  BackwardRows<Real> rows{};
  rows.state = memory.rows(S);
  rows.running = memory.rows(S);
  rows.grad_state = memory.rows(S);
  rows.sg = memory.row();
  rows.spike = memory.row();
  rows.spike_before = memory.row();
  const Rows<Real> params = memory.rows(P), grad_params = memory.rows(P);
  if (b.grad_params) rows.grad_params = grad_params;
  Real* buffers[5];
  for (Real*& row : buffers) row = memory.row();
  fill(buffers[4], Real(0), int(tile));
  BackwardTensors<Scalar, Real> io{{a.T, 0, 0, 0},
                                   {static_cast<const Scalar*>(a.x_seq), a.x_stride, buffers[0]},
                                   {static_cast<const Scalar*>(b.grad_spike_seq), b.grad_spike_stride, buffers[1]},
                                   {static_cast<const Real*>(b.grad_v_seq), a.N, nullptr},
                                   {static_cast<Scalar*>(b.grad_x_seq), a.N, worth_streaming<Scalar>(a), buffers[2],
                                    reinterpret_cast<Scalar*>(buffers[3])},
                                   buffers[4]};
  rows.kept = memory.rows(a.T * S);

  const auto surrogate = HostSurrogate<Real>::choose(Surrogates{}, a);
  const Fire<Real> fire = make_fire<Real>(a);
  const auto constants = load_constants<Neuron, Real>(a);
  for (int64_t lane = begin; lane < end; lane += tile) {
    const int n = int(minimum(tile, end - lane));
    io.lane = lane;
    io.n = n;
    io.ahead = int(minimum(tile, end - lane - n));
    load_lanes<Neuron>(a, lane, n, rows.state, params);
    for (int k = 0; k < S; ++k) {
      const Real* g = static_cast<const Real*>(b.grad_state_last);
      g ? copy(g + k * a.N + lane, rows.grad_state[k], n) : fill(rows.grad_state[k], Real(0), n);
    }
    if (b.grad_params)
      for (int k = 0; k < P; ++k) fill(grad_params[k], Real(0), n);
    if (kHasSmooth<Real> && a.smooth) {
      backward_tile<Neuron, kHasSmooth<Real>>(fire, surrogate, constants, params, io, rows, a.T, n);
    } else {
      backward_tile<Neuron, false>(fire, surrogate, constants, params, io, rows, a.T, n);
    }
    if (b.grad_state_init)
      for (int k = 0; k < S; ++k) copy(rows.grad_state[k], static_cast<Real*>(b.grad_state_init) + k * a.N + lane, n);
    if (b.grad_params) store_grad_params<Neuron>(a, b, grad_params, lane, n, tile);
  }
  stream_fence();
}

template <class... N>
constexpr NeuronKernels make_kernels(NeuronList<N...>) {
  return {{{forward<N, float>, forward<N, double>, forward<N, BFloat16>, forward<N, Half>}...},
          {{backward<N, float>, backward<N, double>, backward<N, BFloat16>, backward<N, Half>}...}};
}

constexpr NeuronKernels kKernels = make_kernels(Neurons{});

}  // namespace

const NeuronKernels* SNN_CONCAT(neuron_kernels_, SNN_ISA)() { return &kKernels; }

}  // namespace snn
