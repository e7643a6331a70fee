// CPU kernels of every neuron, compiled once per instruction set (cmake/SnnIsa.cmake) with SNN_ISA naming the copy.
//
// Nothing here may be shared between the copies: functions are always inlined or static, and no STL header with
// inline functions is included, or the linker could keep the AVX-512 copy of one for every machine.
#include "ops/isa.h"
#include "ops/rows.h"
#include "ops/surrogate_rows.h"

#define SNN_CONCAT_(a, b) a##b
#define SNN_CONCAT(a, b) SNN_CONCAT_(a, b)

namespace snn {
namespace {

template <class Real>
bool worth_streaming(const NeuronArgs& a) {
  return a.T * a.N * Elements<Real>::of(a.dtype).bytes >= stream_threshold_bytes();
}

// What each lane starts from.
template <class Real>
SNN_ROW_FUNCTION void load_state(const NeuronArgs& a, int states, int64_t lane, int n, Rows<Real> state) {
  for (int k = 0; k < states; ++k) {
    if (a.state_init) {
      copy(static_cast<const Real*>(a.state_init) + k * a.N + lane, state[k], n);
    } else {
      fill(state[k], Real(a.state_rest[k]), n);
    }
  }
}

template <class Real>
SNN_ROW_FUNCTION void store_state(void* to, int64_t N, int states, int64_t lane, int n, Rows<Real> state) {
  for (int k = 0; to && k < states; ++k) copy(state[k], static_cast<Real*>(to) + k * N + lane, n);
}

template <class Neuron, class Real>
Law<Real, HostSurrogate<Real>> make_law(const NeuronArgs& a) {
  static_assert(Neuron::constants <= kMaxConstants, "raise kMaxConstants");
  Law<Real, HostSurrogate<Real>> law{Reset<Real>::make(ResetKind(a.reset), Real(a.v_reset), a.detach_reset),
                                     HostSurrogate<Real>::choose(Surrogates{}, a),
                                     {},
                                     a.detach_state};
  for (int k = 0; k < Neuron::constants; ++k) law.constants.value[k] = Real(a.numbers[1 + Neuron::params + k]);
  return law;
}

// v_threshold and parameters as numbers (kLanes: as rows, which load_params fills tile by tile).
template <class Neuron, bool kLanes, class Real>
Params<Neuron, kLanes, Real> make_params(const NeuronArgs& a, Rows<Real> rows) {
  Params<Neuron, kLanes, Real> params{{}, rows};
  const Real* given = static_cast<const Real*>(a.params);
  for (int k = 0; k < params.count; ++k) params.numbers.value[k] = given ? given[k * a.channels] : Real(a.numbers[k]);
  return params;
}

// v_threshold, `count` - 1 parameters and alpha of each lane.
template <class Real>
SNN_ROW_FUNCTION void load_params(const NeuronArgs& a, int count, int64_t lane, int n, Rows<Real> rows) {
  for (int k = 0; k <= count; ++k) {
    const bool alpha = k == count;
    if (!a.params || (alpha && !a.has_alpha)) {
      fill(rows[k], Real(alpha ? a.surrogate_a : a.numbers[k]), n);
      continue;
    }
    const Real* row = static_cast<const Real*>(a.params) + k * a.channels;
    for (int i = 0; i < n; ++i) rows[k][i] = row[((lane + i) / a.inner) % a.channels];
  }
}

template <class Neuron, class Real, bool kSmooth, bool kLanes>
void forward_range(const NeuronArgs& a, const ForwardOut& out, int64_t begin, int64_t end, void* scratch) {
  const int64_t tile = forward_tile_lanes(sizeof(Real));
  Scratch<Real> memory{static_cast<Real*>(scratch), tile + int64_t(64 / sizeof(Real))};
  const Rows<Real> state = memory.rows(Neuron::states), spikes = memory.rows(Neuron::fires);
  const auto params = make_params<Neuron, kLanes, Real>(a, memory.rows(Neuron::params + 2));
  const auto law = make_law<Neuron, Real>(a);
  Real* buffers[5];
  for (Real*& row : buffers) row = memory.row();
  const auto elements = Elements<Real>::of(a.dtype), plain = Elements<Real>::plain();
  const bool stream = worth_streaming<Real>(a);
  const Writer<Real> spike_seq{out.spike_seq, a.N, elements, stream, buffers[1], buffers[2]};
  CountingWriter<Real> counting{spike_seq, out.spike_count, out.samples, out.spike_count ? a.N / out.samples : 0, begin,
                                end};
  ForwardTensors<Real> io{{a.T, 0, 0, 0}, {a.x_seq, a.x_stride, elements, buffers[0]},
                          spike_seq,      {out.v_seq, a.N, plain, stream, buffers[3], buffers[4]},
                          &counting,      out.spike_count ? counting.put() : nullptr};
  for (int64_t lane = begin; lane < end; lane += tile) {
    const int n = int(minimum(tile, end - lane));
    if (out.spike_count) counting.start_tile(lane, n);
    io.lane = lane;
    io.n = n;
    io.ahead = int(minimum(tile, end - lane - n));
    load_state(a, Neuron::states, lane, n, state);
    if (kLanes) load_params(a, params.count, lane, n, params.rows);
    forward_tile<kSmooth>(law, params, io, state, spikes, a.T, n);
    store_state(out.state_last, a.N, Neuron::states, lane, n, state);
  }
  if (stream) stream_fence();
}

template <class Neuron, class Real>
void forward(const NeuronArgs& a, const ForwardOut& out, int64_t begin, int64_t end, void* scratch) {
  constexpr bool kSmooth = kHasSmooth<Real>;
  if (kSmooth && a.smooth) return forward_range<Neuron, Real, kSmooth, true>(a, out, begin, end, scratch);
  if (a.channels > 1) return forward_range<Neuron, Real, false, true>(a, out, begin, end, scratch);
  forward_range<Neuron, Real, false, false>(a, out, begin, end, scratch);
}

// Sums over time arrive per lane; with one channel they are summed over the lanes of the tile right here.
template <class Real>
SNN_ROW_FUNCTION void store_grad_params(const NeuronArgs& a, const BackwardIo& b, Rows<Real> grad_params, int64_t rows,
                                        int64_t lane, int n, int64_t tile) {
  const int64_t tiles = (a.N + tile - 1) / tile;
  for (int64_t k = 0; k < rows; ++k) {
    if (a.channels > 1) {
      copy(grad_params[k], static_cast<Real*>(b.grad_params) + k * a.N + lane, n);
      continue;
    }
    double sum = 0;
    for (int i = 0; i < n; ++i) sum += double(grad_params[k][i]);
    static_cast<double*>(b.grad_params)[k * tiles + lane / tile] = sum;
  }
}

template <class Neuron, class Real, bool kSmooth, bool kLanes, bool kGradParams>
void backward_range(const NeuronArgs& a, const BackwardIo& b, int64_t begin, int64_t end, void* scratch) {
  const int64_t tile = backward_tile_lanes(a.T, Neuron::states, sizeof(Real));
  Scratch<Real> memory{static_cast<Real*>(scratch), tile + int64_t(64 / sizeof(Real))};
  constexpr int S = Neuron::states, F = Neuron::fires;
  const int64_t param_rows = 1 + Neuron::params + a.has_alpha;
  BackwardRows<Real> rows{};
  rows.state = memory.rows(S);
  rows.running = memory.rows(S);
  rows.grad_state = memory.rows(S);
  rows.sg = memory.rows(F);
  rows.spike = memory.rows(F);
  rows.spike_before = memory.rows(F);
  rows.grad_fire = memory.rows(F);
  const auto params = make_params<Neuron, kLanes, Real>(a, memory.rows(Neuron::params + 2));
  rows.grad_params = memory.rows(Neuron::params + 2);
  rows.grad_alpha = rows.grad_params[1 + Neuron::params];
  rows.learns_alpha = a.has_alpha;
  Real* buffers[5];
  for (Real*& row : buffers) row = memory.row();
  fill(buffers[4], Real(0), int(tile));
  const auto elements = Elements<Real>::of(a.dtype), plain = Elements<Real>::plain();
  BackwardTensors<Real> io{{a.T, 0, 0, 0},
                           {a.x_seq, a.x_stride, elements, buffers[0]},
                           {b.grad_spike_seq, b.grad_spike_stride, elements, buffers[1]},
                           {b.grad_v_seq, a.N, plain, nullptr},
                           {b.grad_x_seq, a.N, elements, worth_streaming<Real>(a), buffers[2], buffers[3]},
                           buffers[4]};
  rows.kept = memory.rows(a.T * S);

  const auto law = make_law<Neuron, Real>(a);
  for (int64_t lane = begin; lane < end; lane += tile) {
    const int n = int(minimum(tile, end - lane));
    io.lane = lane;
    io.n = n;
    io.ahead = int(minimum(tile, end - lane - n));
    load_state(a, S, lane, n, rows.state);
    if (kLanes) load_params(a, params.count, lane, n, params.rows);
    for (int k = 0; k < S; ++k) {
      const Real* g = static_cast<const Real*>(b.grad_state_last);
      g ? copy(g + k * a.N + lane, rows.grad_state[k], n) : fill(rows.grad_state[k], Real(0), n);
    }
    for (int k = 0; kGradParams && k < Neuron::params + 2; ++k) fill(rows.grad_params[k], Real(0), n);
    backward_tile<kSmooth, kGradParams>(law, params, io, rows, a.T, n);
    store_state(b.grad_state_init, a.N, S, lane, n, rows.grad_state);
    if (b.grad_params) store_grad_params(a, b, rows.grad_params, param_rows, lane, n, tile);
  }
  stream_fence();
}

// With a row of parameters per lane, or a row of alpha, gradients are taken whether wanted or not: one kernel fewer.
template <class Neuron, class Real>
void backward(const NeuronArgs& a, const BackwardIo& b, int64_t begin, int64_t end, void* scratch) {
  constexpr bool kSmooth = kHasSmooth<Real>;
  if (kSmooth && a.smooth) return backward_range<Neuron, Real, kSmooth, true, true>(a, b, begin, end, scratch);
  if (a.channels > 1 || a.has_alpha) return backward_range<Neuron, Real, false, true, true>(a, b, begin, end, scratch);
  if (b.grad_params) return backward_range<Neuron, Real, false, false, true>(a, b, begin, end, scratch);
  backward_range<Neuron, Real, false, false, false>(a, b, begin, end, scratch);
}

template <class... N>
constexpr NeuronKernels make_kernels(NeuronList<N...>) {
  return {{{forward<N, float>, forward<N, double>}...}, {{backward<N, float>, backward<N, double>}...}};
}

constexpr NeuronKernels kKernels = make_kernels(Neurons{});

}  // namespace

const NeuronKernels* SNN_CONCAT(neuron_kernels_, SNN_ISA)() { return &kKernels; }

}  // namespace snn
