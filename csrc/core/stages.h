// The stages of one time step, as most neurons have them. A neuron (csrc/neuron/) inherits from Stages<its number of
// parameters>, gives `charge`, and hides the stages it does differently. The time loop calls, for every lane:
//
//   charge  (v, x, p, c)         state before -> state after charge, h = v[0]
//   margin  (h, p, c, u)         u[f]: how far above its threshold, for each of `fires` conditions
//   fire    (u, c)               the spike of one condition: 1 where u >= 0
//   emit    (s, p, c)            what leaves the neuron, from those spikes
//   settle  (v, s, reset, p, c)  state after charge -> the state the next step starts from
//
// and their derivatives in reverse order. p: v_threshold, then the neuron's own parameters, of this lane; c: constants.
// In each *_vjp `g` holds dL/d(the state the stage gave) on entry and dL/d(the state it took) on exit; g_s and g_p are
// sums to add to. The derivative of `fire` is the surrogate's. What settle_vjp adds to g_s on account of the reset of
// the potential goes through reset.through(), which drops it with detach_reset; other uses of the spike keep their
// gradient.
#pragma once

#include "core/reset.h"

namespace snn {

template <int kParams>
struct Stages {
  static constexpr int params = kParams;     // own parameters, at p[1] and on
  static constexpr int fires = 1;            // conditions that fire
  static constexpr bool own_margin = false;  // True where `margin` or `fire` is hidden
  static constexpr bool linear = false;      // True if charge_vjp, but for g_p, reads neither v nor x

  template <class Real>
  SNN_HD static void margin(const Real* h, const Real* p, const Real*, Real* u) {
    u[0] = h[0] - p[0];
  }
  template <class Real>
  SNN_HD static void margin_vjp(const Real*, const Real*, const Real*, const Real* g_u, Real* g, Real* g_p) {
    g[0] += g_u[0];
    g_p[0] -= g_u[0];
  }

  template <class Real>
  SNN_HD static Real fire(Real u, const Real*) {
    return u >= Real(0) ? Real(1) : Real(0);
  }

  template <class Real>
  SNN_HD static Real emit(const Real* s, const Real*, const Real*) {
    return s[0];
  }
  template <class Real>
  SNN_HD static void emit_vjp(const Real*, const Real*, const Real*, Real g_out, Real* g_s, Real*) {
    g_s[0] += g_out;
  }

  template <class Real>
  SNN_HD static void settle(Real* v, const Real* s, const Reset<Real>& reset, const Real* p, const Real*) {
    v[0] = reset.after(v[0], s[0], p[0]);
  }
  template <class Real>
  SNN_HD static void settle_vjp(const Real* h, const Real* s, const Reset<Real>& reset, const Real* p, const Real*,
                                Real* g, Real* g_s, Real* g_p) {
    g_s[0] += reset.to_spike(g[0], h[0], p[0]);
    g_p[0] += g[0] * reset.dv_dthreshold(s[0]);
    g[0] *= reset.dv_dh(s[0]);
  }
};

}  // namespace snn
