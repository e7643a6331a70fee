// Leaky integrate and fire with an adaptive threshold.  States: v, a.
//   h = alpha * v + gain * x,  threshold A = v_threshold + beta * a,  a = rho * a + gain_a * spike
//   v after the reset of h by `drop`: A or v_threshold.
// after_decay: the leak comes first, the reset acts on alpha * h, and h = v + gain * x.
// p[1]: alpha, p[2]: rho, p[3]: beta.  constants (0 or 1): after_decay, by_threshold (drop = A), normalize (gain =
// 1 - alpha and gain_a = 1 - rho; else both 1).
#pragma once

#include "core/stages.h"

namespace snn {

struct AdaptiveThreshold : Stages<3> {
  static constexpr const char* name = "alif";
  static constexpr int states = 2, constants = 3;
  static constexpr bool own_margin = true, linear = true;

  template <class Real>
  SNN_HD static Real threshold(const Real* h, const Real* p) {
    return p[0] + p[3] * h[1];
  }
  // Switches as products, exact with 0 and 1: a choice between a parameter's row and a number costs the vector code.
  template <class Real>
  SNN_HD static Real drop(const Real* h, const Real* p, const Real* c) {
    return p[0] + c[1] * p[3] * h[1];
  }
  // The leak of a step stands before the reset or before the next charge.
  template <class Real>
  SNN_HD static Real leak_of_charge(const Real* p, const Real* c) {
    return c[0] + (Real(1) - c[0]) * p[1];
  }
  template <class Real>
  SNN_HD static Real leak_of_reset(const Real* p, const Real* c) {
    return (Real(1) - c[0]) + c[0] * p[1];
  }
  template <class Real>
  SNN_HD static Real gain(Real decay, const Real* c) {
    return Real(1) - c[2] * decay;
  }

  template <class Real>
  SNN_HD static void charge(Real* v, Real x, const Real* p, const Real* c) {
    v[0] = leak_of_charge(p, c) * v[0] + gain(p[1], c) * x;
  }

  template <class Real>
  SNN_HD static Real charge_vjp(const Real* v, Real x, const Real* p, const Real* c, Real* g, Real* g_p) {
    const Real g_h = g[0];
    g_p[1] += g_h * ((c[0] != Real(0) ? Real(0) : v[0]) - (c[2] != Real(0) ? x : Real(0)));
    g[0] = g_h * leak_of_charge(p, c);
    return g_h * gain(p[1], c);
  }

  template <class Real>
  SNN_HD static void margin(const Real* h, const Real* p, const Real*, Real* u) {
    u[0] = h[0] - threshold(h, p);
  }
  template <class Real>
  SNN_HD static void margin_vjp(const Real* h, const Real* p, const Real*, const Real* g_u, Real* g, Real* g_p) {
    g[0] += g_u[0];
    g[1] -= g_u[0] * p[3];
    g_p[0] -= g_u[0];
    g_p[3] -= g_u[0] * h[1];
  }

  template <class Real>
  SNN_HD static void settle(Real* v, const Real* s, const Reset<Real>& reset, const Real* p, const Real* c) {
    v[0] = reset.after(leak_of_reset(p, c) * v[0], s[0], drop(v, p, c));
    v[1] = p[2] * v[1] + gain(p[2], c) * s[0];
  }

  template <class Real>
  SNN_HD static void settle_vjp(const Real* h, const Real* s, const Reset<Real>& reset, const Real* p, const Real* c,
                                Real* g, Real* g_s, Real* g_p) {
    const Real leak = leak_of_reset(p, c), g_a = g[1];
    const Real g_leaked = g[0] * reset.dv_dh(s[0]), g_drop = g[0] * reset.dv_dthreshold(s[0]);
    const Real g_adapted = c[1] != Real(0) ? g_drop : Real(0);  // what reaches beta * a by way of the reset
    g_s[0] += reset.to_spike(g[0], leak * h[0], drop(h, p, c)) + g_a * gain(p[2], c);
    g_p[0] += g_drop;
    g_p[1] += c[0] != Real(0) ? g_leaked * h[0] : Real(0);
    g_p[2] += g_a * (h[1] - (c[2] != Real(0) ? s[0] : Real(0)));
    g_p[3] += g_adapted * h[1];
    g[0] = g_leaked * leak;
    g[1] = g_a * p[2] + g_adapted * p[3];
  }
};

}  // namespace snn
