// Complementary leaky integrate and fire: a second state remembers recent spikes and deepens the reset.
//   h = v - v * rate + x, or x * rate with decay_input;  m' = m * logistic(h * rate) + spike
//   v' = h - spike * (v_threshold + logistic(m'))
// States: v, m.  p[1]: rate = 1 / tau.  constants: decay_input (0 or 1).
#pragma once

#include "core/math.h"
#include "core/stages.h"

namespace snn {

struct ComplementaryLIF : Stages<1> {
  static constexpr const char* name = "clif";
  static constexpr int states = 2, constants = 1;

  template <class Real>
  SNN_HD static Real gain(const Real* p, const Real* c) {
    return c[0] != Real(0) ? p[1] : Real(1);
  }
  template <class Real>
  SNN_HD static Real potential(const Real* v, Real x, const Real* p, const Real* c) {
    return v[0] - v[0] * p[1] + x * gain(p, c);
  }

  template <class Real>
  SNN_HD static void charge(Real* v, Real x, const Real* p, const Real* c) {
    const Real h = potential(v, x, p, c);
    v[1] = v[1] * logistic(h * p[1]);
    v[0] = h;
  }
  template <class Real>
  SNN_HD static Real charge_vjp(const Real* v, Real x, const Real* p, const Real* c, Real* g, Real* g_p) {
    const Real h = potential(v, x, p, c), kept = logistic(h * p[1]);
    const Real g_scaled = g[1] * v[1] * (kept * (Real(1) - kept));  // to h * rate
    const Real g_h = g[0] + g_scaled * p[1];
    g_p[1] += g_scaled * h + g_h * ((c[0] != Real(0) ? x : Real(0)) - v[0]);
    g[0] = g_h - g_h * p[1];
    g[1] *= kept;
    return g_h * gain(p, c);
  }

  template <class Real>
  SNN_HD static void settle(Real* v, const Real* s, const Reset<Real>&, const Real* p, const Real*) {
    v[1] = v[1] + s[0];
    v[0] = v[0] - s[0] * (p[0] + logistic(v[1]));
  }
  template <class Real>
  SNN_HD static void settle_vjp(const Real* h, const Real* s, const Reset<Real>& reset, const Real* p, const Real*,
                                Real* g, Real* g_s, Real* g_p) {
    const Real deep = logistic(h[1] + s[0]);
    g[1] -= g[0] * s[0] * (deep * (Real(1) - deep));
    g_s[0] += g[1] - reset.through(g[0] * (p[0] + deep));
    g_p[0] -= g[0] * s[0];
  }
};

}  // namespace snn
