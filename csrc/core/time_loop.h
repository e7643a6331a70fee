// THE time loop, forward and backward, host and device. Nothing else loops over T.
//
// A tile is up to `n` neighbouring lanes whose states stay close (registers on a device, L1 on a host) while time
// runs. Backward first re-runs the tile forward, keeping h, then walks back: it recomputes h with the arithmetic of
// forward, so both passes agree on who fired, and forward saves nothing (docs/measurements.md compares with saving).
//
// A step goes over its tile in strips of Io::strip lanes, so that reading ahead, arithmetic and writing overlap.
// `Io` turns the lanes [i, i + m) of a step into rows of Real and back:
//   const Real* x(t, i, m), x_again(t, i, m), grad_spike(t, i, m)     rows to read; x_again on the way back in time
//   const Real* grad_v_seq(t, i, m)                 the same, or nullptr when absent
//   Real* spike(t, i), grad_x(t, i)                 rows to fill
//   Real* v_seq(t, i)                               the same, or nullptr when not wanted
//   void put_spike(t, i, m), put_v_seq(t, i, m), put_grad_x(t, i, m)     called when the row is full
// `Surrogate` offers step(h, v_threshold, out, n) and grad(h, v_threshold, out, n) over rows; which surrogate it is
// was chosen before the loop started. kSmooth fires with that step instead of the Heaviside step (gradient checks).
#pragma once

#include "core/math.h"
#include "core/reset.h"

namespace snn {

template <class Real>
struct Fire {
  Real v_threshold;
  Reset<Real> reset;
};

// Several rows, `stride` lanes apart.
template <class Real>
struct Rows {
  Real* data;
  int64_t stride;
  SNN_HD Real* operator[](int64_t k) const { return data + k * stride; }
  SNN_HD Rows from(int64_t i) const { return {data ? data + i : nullptr, stride}; }
};

// Lane i of K rows, in registers.
template <int K, class Real>
struct Column {
  Real value[K > 0 ? K : 1];
  SNN_HD static Column load(Rows<Real> rows, int i) {
    Column c{};
    for (int k = 0; k < K; ++k) c.value[k] = rows[k][i];
    return c;
  }
  SNN_HD void store(Rows<Real> rows, int i) const {
    for (int k = 0; k < K; ++k) rows[k][i] = value[k];
  }
};

// A neuron's constants, by value: a loop must see that no row it writes can change them.
constexpr int kMaxConstants = 8;
template <class Real>
struct Constants {
  Real value[kMaxConstants];
};

template <class Real>
SNN_HD Real heaviside(Real h, Real v_threshold) {
  return h >= v_threshold ? Real(1) : Real(0);
}

// One step of one strip: charges `state` to h, fires into `spike`, resets. h goes to `kept` as well if kKeep.
template <class Neuron, bool kSmooth, bool kKeep, class Real, class Surrogate>
SNN_HD void step_strip(const Fire<Real> fire, const Surrogate& surrogate, const Constants<Real> constants,
                       Rows<Real> params, const Real* x, Real* spike, Rows<Real> state, Rows<Real> kept, int n) {
  constexpr int S = Neuron::states, P = Neuron::params;
  if constexpr (kSmooth) {
    for (int i = 0; i < n; ++i) {
      auto v = Column<S, Real>::load(state, i);
      Neuron::charge(v.value, x[i], Column<P, Real>::load(params, i).value, constants.value);
      v.store(state, i);
      if (kKeep) v.store(kept, i);
    }
    surrogate.step(state[0], fire.v_threshold, spike, n);
    for (int i = 0; i < n; ++i) state[0][i] = fire.reset.after(state[0][i], spike[i]);
  } else {
    SNN_LANES
    for (int i = 0; i < n; ++i) {
      auto v = Column<S, Real>::load(state, i);
      Neuron::charge(v.value, x[i], Column<P, Real>::load(params, i).value, constants.value);
      if (kKeep) v.store(kept, i);
      const bool s = v.value[0] >= fire.v_threshold;
      if (!kKeep) spike[i] = s ? Real(1) : Real(0);  // backward's first pass wants h only
      v.value[0] = fire.reset.after(v.value[0], s);
      v.store(state, i);
    }
  }
}

// Forward: `state` holds the initial state and ends as the last.
template <class Neuron, bool kSmooth, class Real, class Surrogate, class Io>
SNN_HD void forward_tile(const Fire<Real>& fire, const Surrogate& surrogate, const Constants<Real> constants,
                         Rows<Real> params, Io& io, Rows<Real> state, int64_t T, int n) {
  for (int64_t t = 0; t < T; ++t) {
    for (int i = 0; i < n; i += Io::strip) {
      const int m = minimum(Io::strip, n - i);
      step_strip<Neuron, kSmooth, false>(fire, surrogate, constants, params.from(i), io.x(t, i, m), io.spike(t, i),
                                         state.from(i), Rows<Real>{}, m);
      io.put_spike(t, i, m);
      if (Real* v = io.v_seq(t, i)) {
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
  Rows<Real> kept;         // [T * states] scratch: h of every step
  Rows<Real> grad_state;   // [states] gradient of the last state on entry, of the initial state on exit
  Rows<Real> grad_params;  // [params] sums over time are added here; data == nullptr when not wanted
  Real* sg;                // scratch for one strip
  Real* spike;
  Real* spike_before;

  SNN_HD BackwardRows from(int64_t i) const {
    return {state.from(i), running.from(i), kept.from(i), grad_state.from(i), grad_params.from(i), sg,
            spike,         spike_before};
  }
};

// What one step back needs: h of this step, and of the step before where there is one.
template <class Real>
struct StepBack {
  Rows<Real> h;
  Rows<Real> before;
  bool reset_before;  // `before` is h of the step before and still wants its reset; else it is the initial state
};

// One step back for one strip. kBefore: the charge's derivative needs the state and input it started from.
template <class Neuron, bool kSmooth, bool kBefore, bool kParams, class Real>
SNN_HD void step_back(const Fire<Real> fire, const Constants<Real> constants, Rows<Real> params,
                      const StepBack<Real> at, const BackwardRows<Real> rows, const Real* x, const Real* grad_spike,
                      Real* grad_x, int n) {
  constexpr int S = Neuron::states, P = Neuron::params;
  const Real *h = at.h[0], *sg = rows.sg, *smooth_spike = rows.spike, *smooth_before = rows.spike_before;
  SNN_LANES
  for (int i = 0; i < n; ++i) {
    const Real s = kSmooth ? smooth_spike[i] : heaviside(h[i], fire.v_threshold);
    auto g = Column<S, Real>::load(rows.grad_state, i);
    g.value[0] = grad_spike[i] * sg[i] + g.value[0] * (fire.reset.dv_dh(s) + fire.reset.dv_ds(h[i]) * sg[i]);

    const auto p = Column<P, Real>::load(params, i);
    Column<S, Real> v{};
    Real x_i = Real(0);
    if (kBefore) {
      v = Column<S, Real>::load(at.before, i);
      const Real s_before = kSmooth ? smooth_before[i] : heaviside(v.value[0], fire.v_threshold);
      const Real after = fire.reset.after(v.value[0], s_before);
      v.value[0] = at.reset_before ? after : v.value[0];
      x_i = x[i];
    }
    if (kParams) {
      auto g_p = Column<P, Real>::load(rows.grad_params, i);
      Neuron::params_vjp(v.value, x_i, p.value, constants.value, g.value, g_p.value);
      g_p.store(rows.grad_params, i);
    }
    grad_x[i] = Neuron::charge_vjp(v.value, x_i, p.value, constants.value, g.value);
    g.store(rows.grad_state, i);
  }
}

// One step back for the lanes [i, i + n) of the tile; `rows` and `params` begin at lane i.
template <class Neuron, bool kSmooth, class Real, class Surrogate, class Io>
SNN_HD void strip_back(const Fire<Real>& fire, const Surrogate& surrogate, const Constants<Real> constants,
                       Rows<Real> params, Io& io, const BackwardRows<Real>& rows, int64_t t, int i, int n) {
  constexpr int S = Neuron::states;
  const Rows<Real> h{rows.kept[t * S], rows.kept.stride};
  const Rows<Real> before = t > 0 ? Rows<Real>{rows.kept[(t - 1) * S], rows.kept.stride} : rows.state;
  const StepBack<Real> at{h, before, t > 0};
  surrogate.grad(h[0], fire.v_threshold, rows.sg, n);
  if constexpr (kSmooth) {
    surrogate.step(h[0], fire.v_threshold, rows.spike, n);
    surrogate.step(before[0], fire.v_threshold, rows.spike_before, n);
  }
  if (const Real* g_v = io.grad_v_seq(t, i, n))
    for (int j = 0; j < n; ++j) rows.grad_state[0][j] += g_v[j];

  const Real* g = io.grad_spike(t, i, n);
  Real* grad_x = io.grad_x(t, i);
  if (rows.grad_params.data != nullptr) {
    step_back<Neuron, kSmooth, true, true>(fire, constants, params, at, rows, io.x_again(t, i, n), g, grad_x, n);
  } else if (Neuron::linear) {
    step_back<Neuron, kSmooth, false, false>(fire, constants, params, at, rows, g, g, grad_x, n);
  } else {
    step_back<Neuron, kSmooth, true, false>(fire, constants, params, at, rows, io.x_again(t, i, n), g, grad_x, n);
  }
  io.put_grad_x(t, i, n);
}

template <class Neuron, bool kSmooth, class Real, class Surrogate, class Io>
SNN_HD void backward_tile(const Fire<Real>& fire, const Surrogate& surrogate, const Constants<Real> constants,
                          Rows<Real> params, Io& io, const BackwardRows<Real>& rows, int64_t T, int n) {
  constexpr int S = Neuron::states;
  for (int k = 0; k < S; ++k)
    for (int i = 0; i < n; ++i) rows.running[k][i] = rows.state[k][i];
  for (int64_t t = 0; t < T; ++t) {
    const Rows<Real> kept{rows.kept[t * S], rows.kept.stride};
    for (int i = 0; i < n; i += Io::strip) {
      const int m = minimum(Io::strip, n - i);
      step_strip<Neuron, kSmooth, true>(fire, surrogate, constants, params.from(i), io.x(t, i, m), rows.spike,
                                        rows.running.from(i), kept.from(i), m);
    }
  }
  for (int64_t t = T - 1; t >= 0; --t)
    for (int i = 0; i < n; i += Io::strip)
      strip_back<Neuron, kSmooth>(fire, surrogate, constants, params.from(i), io, rows.from(i), t, i,
                                  minimum(Io::strip, n - i));
}

}  // namespace snn
