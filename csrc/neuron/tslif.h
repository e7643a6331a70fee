// Two compartments, each with a time scale and spikes of its own, that leave as one weighted sum.
//   dendrite: h1 = d0 * v1 + d1 * x - y * v2      soma: h2 = d2 * v2 + d3 * x - k * h1
//   out = soma_weight * [h2 >= v_threshold] + dendrite_weight * [h1 >= v_threshold]
//   v2 = h2 - v_threshold * soma_spike,  v1 = h1 - gamma * dendrite_spike
// States: v2, v1. Conditions: soma, dendrite.
// p[1..4]: d0, d1, d2, d3, p[5]: k, p[6]: y, p[7]: soma_weight, p[8]: dendrite_weight.  constants: gamma.
#pragma once

#include "core/stages.h"

namespace snn {

struct TwoScaleLIF : Stages<8> {
  static constexpr const char* name = "tslif";
  static constexpr int states = 2, constants = 1, fires = 2;
  static constexpr bool own_margin = true, linear = true;

  template <class Real>
  SNN_HD static Real dendrite(const Real* v, Real x, const Real* p) {
    return p[1] * v[1] + p[2] * x - p[6] * v[0];
  }

  template <class Real>
  SNN_HD static void charge(Real* v, Real x, const Real* p, const Real*) {
    const Real h1 = dendrite(v, x, p);
    v[0] = p[3] * v[0] + p[4] * x - p[5] * h1;
    v[1] = h1;
  }
  template <class Real>
  SNN_HD static Real charge_vjp(const Real* v, Real x, const Real* p, const Real*, Real* g, Real* g_p) {
    const Real g_h2 = g[0], g_h1 = g[1] - p[5] * g_h2;
    g_p[1] += g_h1 * v[1];
    g_p[2] += g_h1 * x;
    g_p[3] += g_h2 * v[0];
    g_p[4] += g_h2 * x;
    g_p[5] -= g_h2 * dendrite(v, x, p);
    g_p[6] -= g_h1 * v[0];
    g[0] = p[3] * g_h2 - p[6] * g_h1;
    g[1] = p[1] * g_h1;
    return p[2] * g_h1 + p[4] * g_h2;
  }

  template <class Real>
  SNN_HD static void margin(const Real* h, const Real* p, const Real*, Real* u) {
    u[0] = h[0] - p[0];
    u[1] = h[1] - p[0];
  }
  template <class Real>
  SNN_HD static void margin_vjp(const Real*, const Real*, const Real*, const Real* g_u, Real* g, Real* g_p) {
    g[0] += g_u[0];
    g[1] += g_u[1];
    g_p[0] -= g_u[0] + g_u[1];
  }

  template <class Real>
  SNN_HD static Real emit(const Real* s, const Real* p, const Real*) {
    return p[7] * s[0] + p[8] * s[1];
  }
  template <class Real>
  SNN_HD static void emit_vjp(const Real* s, const Real* p, const Real*, Real g_out, Real* g_s, Real* g_p) {
    g_s[0] += g_out * p[7];
    g_s[1] += g_out * p[8];
    g_p[7] += g_out * s[0];
    g_p[8] += g_out * s[1];
  }

  template <class Real>
  SNN_HD static void settle(Real* v, const Real* s, const Reset<Real>&, const Real* p, const Real* c) {
    v[0] = v[0] - p[0] * s[0];
    v[1] = v[1] - c[0] * s[1];
  }
  template <class Real>
  SNN_HD static void settle_vjp(const Real*, const Real* s, const Reset<Real>& reset, const Real* p, const Real* c,
                                Real* g, Real* g_s, Real* g_p) {
    g_s[0] -= reset.through(g[0] * p[0]);
    g_s[1] -= reset.through(g[1] * c[0]);
    g_p[0] -= g[0] * s[0];
  }
};

}  // namespace snn
