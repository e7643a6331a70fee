// Ternary integrate and fire, leaky or not: fires +1 where h >= v_threshold and -1 where h <= -v_threshold.
//   h = v - (v - v_rest) * rate + x, or x * rate with decay_input; without leak: rate 0
//   hard reset: at either spike to v_reset;  soft: v = h - (positive - negative) * v_threshold
// Conditions: positive, negative.  p[1]: rate = 1 / tau, p[2]: amplitude of the output.
// constants: v_rest, decay_input (0 or 1).
#pragma once

#include "core/stages.h"

namespace snn {

struct Ternary : Stages<2> {
  static constexpr const char* name = "ternary";
  static constexpr int states = 1, constants = 2, fires = 2;
  static constexpr bool own_margin = true, linear = true;

  template <class Real>
  SNN_HD static Real gain(const Real* p, const Real* c) {
    return c[1] != Real(0) ? p[1] : Real(1);
  }

  template <class Real>
  SNN_HD static void charge(Real* v, Real x, const Real* p, const Real* c) {
    const Real leak = p[1] != Real(0) ? (v[0] - c[0]) * p[1] : Real(0);  // without leak even inf * 0 is none
    v[0] = v[0] - leak + x * gain(p, c);
  }

  template <class Real>
  SNN_HD static Real charge_vjp(const Real* v, Real x, const Real* p, const Real* c, Real* g, Real* g_p) {
    const Real g_h = g[0];
    g_p[1] += g_h * ((c[1] != Real(0) ? x : Real(0)) - (v[0] - c[0]));
    g[0] = g_h - g_h * p[1];
    return g_h * gain(p, c);
  }

  template <class Real>
  SNN_HD static void margin(const Real* h, const Real* p, const Real*, Real* u) {
    u[0] = h[0] - p[0];
    u[1] = -h[0] - p[0];
  }
  template <class Real>
  SNN_HD static void margin_vjp(const Real*, const Real*, const Real*, const Real* g_u, Real* g, Real* g_p) {
    g[0] += g_u[0] - g_u[1];
    g_p[0] -= g_u[0] + g_u[1];
  }

  template <class Real>
  SNN_HD static Real emit(const Real* s, const Real* p, const Real*) {
    return (s[0] - s[1]) * p[2];
  }
  template <class Real>
  SNN_HD static void emit_vjp(const Real* s, const Real* p, const Real*, Real g_out, Real* g_s, Real* g_p) {
    g_s[0] += g_out * p[2];
    g_s[1] -= g_out * p[2];
    g_p[2] += g_out * (s[0] - s[1]);
  }

  // What a negative spike counts in the reset: a hard reset happens at either, a soft one has its direction.
  template <class Real>
  SNN_HD static Real sign(const Reset<Real>& reset) {
    return reset.hard - reset.keep;
  }

  template <class Real>
  SNN_HD static void settle(Real* v, const Real* s, const Reset<Real>& reset, const Real* p, const Real*) {
    const Real event = s[0] + sign(reset) * s[1];
    v[0] = reset.dv_dh(event) * v[0] - event * reset.sub(p[0]);
  }
  template <class Real>
  SNN_HD static void settle_vjp(const Real* h, const Real* s, const Reset<Real>& reset, const Real* p, const Real*,
                                Real* g, Real* g_s, Real* g_p) {
    const Real event = s[0] + sign(reset) * s[1];
    const Real g_event = reset.to_spike(g[0], h[0], p[0]);
    g_s[0] += g_event;
    g_s[1] += sign(reset) * g_event;
    g_p[0] += g[0] * reset.dv_dthreshold(event);
    g[0] *= reset.dv_dh(event);
  }
};

}  // namespace snn
