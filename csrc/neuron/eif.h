// Exponential integrate and fire: h = v + (x - (v - v_rest) + delta_T * exp((v - theta_rh) / delta_T)) * rate.
// p[1]: rate = 1 / tau, p[2]: delta_T, p[3]: theta_rh.  constants: v_rest.
#pragma once

#include "core/math.h"
#include "core/stages.h"

namespace snn {

struct ExponentialIntegrateFire : Stages<3> {
  static constexpr const char* name = "eif";
  static constexpr int states = 1, constants = 1;

  template <class Real>
  SNN_HD static void charge(Real* v, Real x, const Real* p, const Real* c) {
    v[0] = v[0] + (x - (v[0] - c[0]) + p[2] * exp_any((v[0] - p[3]) / p[2])) * p[1];
  }

  template <class Real>
  SNN_HD static Real charge_vjp(const Real* v, Real x, const Real* p, const Real* c, Real* g, Real* g_p) {
    const Real g_h = g[0], g_x = g_h * p[1], z = (v[0] - p[3]) / p[2], e = exp_any(z);
    g_p[1] += g_h * (x - (v[0] - c[0]) + p[2] * e);
    g_p[2] += g_x * (e - e * z);
    g_p[3] -= g_x * e;
    g[0] = g_h + g_x * (e - Real(1));
    return g_x;
  }
};

}  // namespace snn
