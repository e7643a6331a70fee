// Leaky integrate and fire whose charged potential is scaled and rectified.
//   h = relu(k * u),  u = v - (v - v_rest) * rate + x * (decay_input ? rate : 1)
// With scale_reset the reset acts on h / k, with v_threshold / k.
// p[1]: rate = 1 / tau, p[2]: k.  constants: v_rest, decay_input, scale_reset (each switch 0 or 1).
#pragma once

#include "core/stages.h"

namespace snn {

struct KLeakyIntegrateFire : Stages<2> {
  static constexpr const char* name = "klif";
  static constexpr int states = 1, constants = 3;

  template <class Real>
  SNN_HD static Real gain(const Real* p, const Real* c) {
    return c[1] != Real(0) ? p[1] : Real(1);
  }
  template <class Real>
  SNN_HD static Real potential(Real v, Real x, const Real* p, const Real* c) {
    return v - (v - c[0]) * p[1] + x * gain(p, c);
  }
  // What the reset multiplies h and v_threshold by.
  template <class Real>
  SNN_HD static Real scale(const Real* p, const Real* c) {
    return c[2] != Real(0) ? Real(1) / p[2] : Real(1);
  }

  template <class Real>
  SNN_HD static void charge(Real* v, Real x, const Real* p, const Real* c) {
    const Real h = p[2] * potential(v[0], x, p, c);
    v[0] = h < Real(0) ? Real(0) : h;  // NaN stays NaN
  }

  template <class Real>
  SNN_HD static Real charge_vjp(const Real* v, Real x, const Real* p, const Real* c, Real* g, Real* g_p) {
    const Real u = potential(v[0], x, p, c);
    const Real g_h = p[2] * u > Real(0) ? g[0] : Real(0), g_u = g_h * p[2];
    g_p[1] += g_u * ((c[1] != Real(0) ? x : Real(0)) - (v[0] - c[0]));
    g_p[2] += g_h * u;
    g[0] = g_u - g_u * p[1];
    return g_u * gain(p, c);
  }

  template <class Real>
  SNN_HD static void settle(Real* v, const Real* s, const Reset<Real>& reset, const Real* p, const Real* c) {
    const Real k = scale(p, c);
    v[0] = reset.after(v[0] * k, s[0], p[0] * k);
  }

  template <class Real>
  SNN_HD static void settle_vjp(const Real* h, const Real* s, const Reset<Real>& reset, const Real* p, const Real* c,
                                Real* g, Real* g_s, Real* g_p) {
    const Real k = scale(p, c);
    const Real g_h = g[0] * reset.dv_dh(s[0]), g_threshold = g[0] * reset.dv_dthreshold(s[0]);
    g_s[0] += reset.to_spike(g[0], h[0] * k, p[0] * k);
    g_p[0] += g_threshold * k;
    g_p[2] -= c[2] != Real(0) ? (g_h * h[0] + g_threshold * p[0]) * (k * k) : Real(0);
    g[0] = g_h * k;
  }
};

}  // namespace snn
