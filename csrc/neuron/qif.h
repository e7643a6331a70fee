// Quadratic integrate and fire: h = v + (x + a0 * (v - v_rest) * (v - v_c)) * rate.
// p[1]: rate = 1 / tau, p[2]: a0, p[3]: v_c.  constants: v_rest.
#pragma once

#include "core/stages.h"

namespace snn {

struct QuadraticIntegrateFire : Stages<3> {
  static constexpr const char* name = "qif";
  static constexpr int states = 1, constants = 1;

  template <class Real>
  SNN_HD static void charge(Real* v, Real x, const Real* p, const Real* c) {
    v[0] = v[0] + (x + p[2] * (v[0] - c[0]) * (v[0] - p[3])) * p[1];
  }

  template <class Real>
  SNN_HD static Real charge_vjp(const Real* v, Real x, const Real* p, const Real* c, Real* g, Real* g_p) {
    const Real g_h = g[0], g_x = g_h * p[1], rest = v[0] - c[0], critical = v[0] - p[3];
    g_p[1] += g_h * (x + p[2] * rest * critical);
    g_p[2] += g_x * (rest * critical);
    g_p[3] -= g_x * (p[2] * rest);
    g[0] = g_h + g_x * (p[2] * (rest + critical));
    return g_x;
  }
};

}  // namespace snn
