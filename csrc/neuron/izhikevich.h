// Adaptive quadratic integrate and fire, with a recovery current w that settles after the spike.
//   h = v + (x + a0 * (v - v_rest) * (v - v_c) - w) * rate
//   w = w + (a * (h - v_rest) - w) * rate_w + b * spike,  h before the reset
// p[1]: rate = 1 / tau, p[2]: rate_w = 1 / tau_w, p[3]: a, p[4]: b.  constants: v_rest, v_c, a0.
#pragma once

#include "core/stages.h"

namespace snn {

struct Izhikevich : Stages<4> {
  static constexpr const char* name = "izhikevich";
  static constexpr int states = 2, constants = 3;

  template <class Real>
  SNN_HD static void charge(Real* v, Real x, const Real* p, const Real* c) {
    v[0] = v[0] + (x + c[2] * (v[0] - c[0]) * (v[0] - c[1]) - v[1]) * p[1];
  }

  template <class Real>
  SNN_HD static Real charge_vjp(const Real* v, Real x, const Real* p, const Real* c, Real* g, Real* g_p) {
    const Real g_h = g[0], g_x = g_h * p[1], rest = v[0] - c[0], critical = v[0] - c[1];
    g_p[1] += g_h * (x + c[2] * rest * critical - v[1]);
    g[0] = g_h + g_x * (c[2] * (rest + critical));
    g[1] -= g_x;
    return g_x;
  }

  template <class Real>
  SNN_HD static void settle(Real* v, const Real* s, const Reset<Real>& reset, const Real* p, const Real* c) {
    const Real h = v[0];
    v[0] = reset.after(h, s[0], p[0]);
    v[1] = v[1] + (p[3] * (h - c[0]) - v[1]) * p[2] + p[4] * s[0];
  }

  template <class Real>
  SNN_HD static void settle_vjp(const Real* h, const Real* s, const Reset<Real>& reset, const Real* p, const Real* c,
                                Real* g, Real* g_s, Real* g_p) {
    const Real g_w = g[1], above = h[0] - c[0];
    Stages::settle_vjp(h, s, reset, p, c, g, g_s, g_p);
    g_p[2] += g_w * (p[3] * above - h[1]);
    g_p[3] += g_w * (above * p[2]);
    g_p[4] += g_w * s[0];
    g_s[0] += g_w * p[4];
    g[0] += g_w * (p[3] * p[2]);
    g[1] = g_w - g_w * p[2];
  }
};

}  // namespace snn
