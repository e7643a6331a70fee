// THE time loop, forward and backward, host and device. Nothing else loops over T.
//
// A tile is up to `n` neighbouring lanes whose states stay close (registers on a device, L1 on a host) while time
// runs. Backward first re-runs the tile forward, keeping the charged state, then walks back: it recomputes it with the
// arithmetic of forward, so both passes agree on who fired, and forward saves nothing (docs/measurements.md compares
// with saving). What a step does to a lane stands in core/stages.h and csrc/neuron/.
//
// A step goes over its tile in strips of Io::strip lanes, so that reading ahead, arithmetic and writing overlap.
// `Io` turns the lanes [i, i + m) of a step into rows of Real and back:
//   const Real* x(t, i, m), x_again(t, i, m), grad_spike(t, i, m)     rows to read; x_again on the way back in time
//   const Real* grad_v_seq(t, i, m)                 the same, if has_grad_v_seq()
//   Real* spike(t, i), grad_x(t, i)                 rows to fill
//   Real* v_seq(t, i)                               the same, if wants_v_seq()
//   void put_spike(t, i, m), put_v_seq(t, i, m), put_grad_x(t, i, m)     called when the row is full
// `Surrogate` works on rows, with its alpha a number or a row (`a`, may be nullptr: the number):
//   grad(h, v_threshold, out, n)        derivative at h - v_threshold
//   step(u, a, out, n), grad(u, a, out, n), grad_alpha(u, a, out, n)
// Which surrogate it is was chosen before the loop started. kSmooth fires with `step` (gradient checks).
#pragma once

#include "core/math.h"
#include "core/stages.h"

namespace snn {

// Several rows, `stride` lanes apart.
template <class Real>
struct Rows {
  Real* data;
  int64_t stride;
  SNN_HD Real* operator[](int64_t k) const { return data + k * stride; }
  SNN_HD Rows from(int64_t i) const { return {data ? data + i : nullptr, stride}; }
};

// Lane i of K rows, in registers. Only inside functions of one lane that the loops over lanes call: a local variable
// declared in such a loop would become an array over its lanes, and the loop no vector code.
template <int K, class Real>
struct Column {
  Real value[K > 0 ? K : 1];
  SNN_HD static Column load(const Rows<Real>& rows, int i) {
    Column c{};
    for (int k = 0; k < K; ++k) c.value[k] = rows[k][i];
    return c;
  }
  SNN_HD void store(const Rows<Real>& rows, int i) const {
    for (int k = 0; k < K; ++k) rows[k][i] = value[k];
  }
};

// A neuron's constants, by value: a loop must see that no row it writes can change them.
constexpr int kMaxConstants = 8;
template <class Real>
struct Constants {
  Real value[kMaxConstants];
};

// v_threshold and a neuron's parameters: the same for all lanes, or (kLanes) a row each, followed by a row of alpha.
template <class Neuron, bool kLanes, class Real>
struct Params {
  static constexpr int count = 1 + Neuron::params;
  static constexpr bool lanes = kLanes;
  using neuron = Neuron;
  using real = Real;
  Column<count, Real> numbers;
  Rows<Real> rows;

  SNN_HD Column<count, Real> at(int i) const {
    Column<count, Real> c{};
    for (int k = 0; k < count; ++k) c.value[k] = kLanes ? rows[k][i] : numbers.value[k];
    return c;
  }
  SNN_HD const Real* alpha() const { return kLanes ? rows[count] : nullptr; }
  SNN_HD Params from(int i) const { return {numbers, rows.from(i)}; }
};

// Everything of a call that does not change with time or lane.
template <class Real, class Surrogate>
struct Law {
  Reset<Real> reset;
  Surrogate surrogate;
  Constants<Real> constants;
  bool detach_state;  // no gradient goes from one step to the step before
};

template <class Neuron, class Real>
SNN_HD void fire_lane(const Real* h, const Real* p, const Real* c, Real* s) {
  if constexpr (Neuron::own_margin) {
    Real u[Neuron::fires];
    Neuron::margin(h, p, c, u);
    for (int f = 0; f < Neuron::fires; ++f) s[f] = Neuron::fire(u[f], c);
  } else {
    s[0] = h[0] >= p[0] ? Real(1) : Real(0);  // the same decision as h - p[0] >= 0
  }
}

template <class P, class Real>
SNN_HD void margin_lane(const P& params, const Real* c, const Rows<Real>& h, const Rows<Real>& u, int i) {
  using Neuron = typename P::neuron;
  Column<Neuron::fires, Real> m{};
  Neuron::margin(Column<Neuron::states, Real>::load(h, i).value, params.at(i).value, c, m.value);
  m.store(u, i);
}

template <class P, class Real>
SNN_HD void margin_rows(const P& params, const Constants<Real> constants, Rows<Real> h, Rows<Real> u, int n) {
  SNN_LANES
  for (int i = 0; i < n; ++i) margin_lane(params, constants.value, h, u, i);
}

// Spikes of the smooth step.
template <class Law, class P, class Real>
SNN_HD void smooth_rows(const Law& law, const P& params, Rows<Real> h, Rows<Real> s, int n) {
  margin_rows(params, law.constants, h, s, n);
  for (int f = 0; f < P::neuron::fires; ++f) law.surrogate.step(s[f], params.alpha(), s[f], n);
}

// Charges lane i of `state` to h and returns it; h goes to `kept` as well if kKeep.
template <bool kKeep, class P, class Real>
SNN_HD Column<P::neuron::states, Real> charge_lane(const P& params, const Real* c, const Real* x,
                                                   const Rows<Real>& state, const Rows<Real>& kept, int i) {
  auto v = Column<P::neuron::states, Real>::load(state, i);
  P::neuron::charge(v.value, x[i], params.at(i).value, c);
  if (kKeep) v.store(kept, i);
  return v;
}

// Lane i, charged to v, fires into `spike` and settles.
template <bool kKeep, class P, class V, class F, class Real>
SNN_HD void settle_lane(const P& params, const Reset<Real>& reset, const Real* c, V v, const F& fired, Real* spike,
                        const Rows<Real>& state, int i) {
  const auto p = params.at(i);
  if (!kKeep) spike[i] = P::neuron::emit(fired.value, p.value, c);
  P::neuron::settle(v.value, fired.value, reset, p.value, c);
  v.store(state, i);
}

template <bool kKeep, class P, class Real>
SNN_HD void step_lane(const P& params, const Reset<Real>& reset, const Real* c, const Real* x, Real* spike,
                      const Rows<Real>& state, const Rows<Real>& kept, int i) {
  const auto v = charge_lane<kKeep>(params, c, x, state, kept, i);
  Column<P::neuron::fires, Real> fired;
  fire_lane<typename P::neuron>(v.value, params.at(i).value, c, fired.value);
  settle_lane<kKeep>(params, reset, c, v, fired, spike, state, i);
}

// One step of one strip: charges `state` to h, fires into `spike`, settles. h goes to `kept` as well if kKeep, and
// then nobody wants the spikes. `s`: scratch [fires].
template <bool kSmooth, bool kKeep, class Law, class P, class Real>
SNN_HD void step_strip(const Law& law, const P params, const Real* x, Real* spike, Rows<Real> state, Rows<Real> kept,
                       Rows<Real> s, int n) {
  const auto constants = law.constants;
  const auto reset = law.reset;
  if constexpr (kSmooth) {
    for (int i = 0; i < n; ++i) charge_lane<kKeep>(params, constants.value, x, state, kept, i).store(state, i);
    smooth_rows(law, params, state, s, n);
    for (int i = 0; i < n; ++i) {
      const auto v = Column<P::neuron::states, Real>::load(state, i);
      settle_lane<kKeep>(params, reset, constants.value, v, Column<P::neuron::fires, Real>::load(s, i), spike, state,
                         i);
    }
  } else {
    SNN_LANES
    for (int i = 0; i < n; ++i) step_lane<kKeep>(params, reset, constants.value, x, spike, state, kept, i);
  }
}

// Lanes of a strip where `left` remain. Where strips are always whole (a thread of a device) it must be a constant:
// then the loops over lanes unroll, and rows become registers.
template <class Io>
SNN_HD int strip_lanes(int left) {
  if constexpr (Io::whole) return Io::strip;
  return minimum(Io::strip, left);
}

// Forward: `state` holds the initial state and ends as the last. `s`: scratch [fires].
template <bool kSmooth, class Law, class P, class Real, class Io>
SNN_HD void forward_tile(const Law& law, const P& params, Io& io, Rows<Real> state, Rows<Real> s, int64_t T, int n) {
  for (int64_t t = 0; t < T; ++t) {
    for (int i = 0; i < n; i += Io::strip) {
      const int m = strip_lanes<Io>(n - i);
      step_strip<kSmooth, false>(law, params.from(i), io.x(t, i, m), io.spike(t, i), state.from(i), Rows<Real>{}, s, m);
      io.put_spike(t, i, m);
      if (io.wants_v_seq()) {
        Real* v = io.v_seq(t, i);
        for (int j = 0; j < m; ++j) v[j] = state[0][i + j];
        io.put_v_seq(t, i, m);
      }
    }
  }
}

template <class Real>
struct BackwardRows {
  Rows<Real> state;        // [states] the initial state
  Rows<Real> running;      // [states] scratch
  Rows<Real> kept;         // [T * states] scratch: the charged state of every step
  Rows<Real> grad_state;   // [states] gradient of the last state on entry, of the initial state on exit
  Rows<Real> grad_params;  // [1 + params] sums over time are added here; data == nullptr when not wanted
  Real* grad_alpha;        // the same for alpha, where it is learned
  bool learns_alpha;
  Rows<Real> sg, spike, spike_before, grad_fire;  // [fires] scratch for one strip

  SNN_HD BackwardRows from(int64_t i) const {
    return {state.from(i),
            running.from(i),
            kept.from(i),
            grad_state.from(i),
            grad_params.from(i),
            grad_alpha + i,
            learns_alpha,
            sg,
            spike,
            spike_before,
            grad_fire};
  }
};

// What one step back needs: the charged state of this step, and of the step before where there is one.
template <class Real>
struct StepBack {
  Rows<Real> h;
  Rows<Real> before;
  Real settle_before;  // 1: `before` is charged and still wants to settle; 0: it is the initial state
};

// The state and spikes from which a step started.
template <bool kSmooth, class P, class Real>
SNN_HD Column<P::neuron::states, Real> state_before(const StepBack<Real> at, const Reset<Real> reset, const Real* p,
                                                    const Real* c, Rows<Real> smooth, int i) {
  using Neuron = typename P::neuron;
  const auto before = Column<Neuron::states, Real>::load(at.before, i);
  auto v = before;
  Column<Neuron::fires, Real> s;
  if constexpr (kSmooth) {
    s = Column<Neuron::fires, Real>::load(smooth, i);
  } else {
    fire_lane<Neuron>(v.value, p, c, s.value);
  }
  Neuron::settle(v.value, s.value, reset, p, c);
  for (int k = 0; k < Neuron::states; ++k) v.value[k] = at.settle_before != Real(0) ? v.value[k] : before.value[k];
  return v;
}

template <bool kSmooth, bool kGradParams, class P, class Real>
SNN_HD void back_lane(const P& params, const Reset<Real>& reset, const Real* c, const StepBack<Real>& at,
                      const BackwardRows<Real>& rows, const Real* x, const Real* grad_spike, Real* grad_x, int i) {
  using Neuron = typename P::neuron;
  constexpr int S = Neuron::states, F = Neuron::fires;
  constexpr bool kBefore = kGradParams || !Neuron::linear;
  const auto h = Column<S, Real>::load(at.h, i);
  const auto p = params.at(i);
  Column<F, Real> s, g_s{}, g_u;
  if constexpr (kSmooth) {
    s = Column<F, Real>::load(rows.spike, i);
  } else {
    fire_lane<Neuron>(h.value, p.value, c, s.value);
  }
  auto g = Column<S, Real>::load(rows.grad_state, i);
  Column<P::count, Real> g_p{};
  if (kGradParams) g_p = Column<P::count, Real>::load(rows.grad_params, i);

  Neuron::settle_vjp(h.value, s.value, reset, p.value, c, g.value, g_s.value, g_p.value);
  Neuron::emit_vjp(s.value, p.value, c, grad_spike[i], g_s.value, g_p.value);
  for (int f = 0; f < F; ++f) g_u.value[f] = g_s.value[f] * rows.sg[f][i];
  if (P::lanes) g_s.store(rows.grad_fire, i);
  Neuron::margin_vjp(h.value, p.value, c, g_u.value, g.value, g_p.value);

  Column<S, Real> v{};
  Real x_i = Real(0);
  if constexpr (kBefore) {
    v = state_before<kSmooth, P>(at, reset, p.value, c, rows.spike_before, i);
    x_i = x[i];
  }
  grad_x[i] = Neuron::charge_vjp(v.value, x_i, p.value, c, g.value, g_p.value);
  g.store(rows.grad_state, i);
  if (kGradParams) g_p.store(rows.grad_params, i);
}

// One step back for one strip.
template <bool kSmooth, bool kGradParams, class Law, class P, class Real>
SNN_HD void step_back(const Law& law, const P params, const StepBack<Real> at, const BackwardRows<Real> rows,
                      const Real* x, const Real* grad_spike, Real* grad_x, int n) {
  const auto constants = law.constants;
  const auto reset = law.reset;
  SNN_LANES
  for (int i = 0; i < n; ++i)
    back_lane<kSmooth, kGradParams>(params, reset, constants.value, at, rows, x, grad_spike, grad_x, i);
}

// sg of one strip; with one number for all lanes the usual margin needs no row of its own.
template <bool kSmooth, class Law, class P, class Real>
SNN_HD void surrogate_rows(const Law& law, const P& params, const StepBack<Real> at, const BackwardRows<Real>& rows,
                           int n) {
  using Neuron = typename P::neuron;
  if constexpr (kSmooth) {
    smooth_rows(law, params, at.h, rows.spike, n);
    if (at.settle_before != Real(0)) smooth_rows(law, params, at.before, rows.spike_before, n);
  }
  if constexpr (P::lanes || Neuron::own_margin) {
    margin_rows(params, law.constants, at.h, rows.sg, n);
    for (int f = 0; f < Neuron::fires; ++f) law.surrogate.grad(rows.sg[f], params.alpha(), rows.sg[f], n);
  } else {
    law.surrogate.grad(at.h[0], params.numbers.value[0], rows.sg[0], n);
  }
}

template <class Law, class P, class Real>
SNN_HD void add_grad_alpha(const Law& law, const P& params, const StepBack<Real> at, const BackwardRows<Real>& rows,
                           int n) {
  margin_rows(params, law.constants, at.h, rows.sg, n);
  for (int f = 0; f < P::neuron::fires; ++f) {
    law.surrogate.grad_alpha(rows.sg[f], params.alpha(), rows.sg[f], n);
    for (int i = 0; i < n; ++i) rows.grad_alpha[i] += rows.sg[f][i] * rows.grad_fire[f][i];
  }
}

// One step back for the lanes [i, i + n) of the tile; `rows` and `params` begin at lane i.
template <bool kSmooth, bool kGradParams, class Law, class P, class Real, class Io>
SNN_HD void strip_back(const Law& law, const P& params, Io& io, const BackwardRows<Real>& rows, int64_t t, int i,
                       int n) {
  using Neuron = typename P::neuron;
  constexpr int S = Neuron::states;
  const Rows<Real> h{rows.kept[t * S], rows.kept.stride};
  const StepBack<Real> at{h, t > 0 ? Rows<Real>{rows.kept[(t - 1) * S], rows.kept.stride} : rows.state, Real(t > 0)};
  surrogate_rows<kSmooth>(law, params, at, rows, n);
  if (io.has_grad_v_seq()) {
    const Real* g_v = io.grad_v_seq(t, i, n);
    for (int j = 0; j < n; ++j) rows.grad_state[0][j] += g_v[j];
  }

  const Real* g = io.grad_spike(t, i, n);
  const Real* x = kGradParams || !Neuron::linear ? io.x_again(t, i, n) : g;
  step_back<kSmooth, kGradParams>(law, params, at, rows, x, g, io.grad_x(t, i), n);
  if (P::lanes && rows.learns_alpha) add_grad_alpha(law, params, at, rows, n);
  if (law.detach_state)
    for (int k = 0; k < S; ++k)
      for (int j = 0; j < n; ++j) rows.grad_state[k][j] = Real(0);
  io.put_grad_x(t, i, n);
}

template <bool kSmooth, bool kGradParams, class Law, class P, class Real, class Io>
SNN_HD void backward_tile(const Law& law, const P& params, Io& io, const BackwardRows<Real>& rows, int64_t T, int n) {
  constexpr int S = P::neuron::states;
  for (int k = 0; k < S; ++k)
    for (int i = 0; i < n; ++i) rows.running[k][i] = rows.state[k][i];
  for (int64_t t = 0; t < T; ++t) {
    const Rows<Real> kept{rows.kept[t * S], rows.kept.stride};
    for (int i = 0; i < n; i += Io::strip) {
      const int m = strip_lanes<Io>(n - i);
      step_strip<kSmooth, true>(law, params.from(i), io.x(t, i, m), static_cast<Real*>(nullptr), rows.running.from(i),
                                kept.from(i), rows.spike, m);
    }
  }
  for (int64_t t = T - 1; t >= 0; --t)
    for (int i = 0; i < n; i += Io::strip)
      strip_back<kSmooth, kGradParams>(law, params.from(i), io, rows.from(i), t, i, strip_lanes<Io>(n - i));
}

}  // namespace snn
