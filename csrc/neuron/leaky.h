// Leaky integrator given by its decay: h = beta * v + x, with the reset of the step before folded in when delayed.
//   delayed subtract:  h = beta * v + x - r * v_threshold,  delayed zero:  h = beta * (v - r * v) + x,
//   r = (v >= v_threshold), which carries no gradient.
// params: beta.  constants: v_threshold, zero (1: delayed zero), subtract (v_threshold: delayed subtract).
// With both switches 0 the reset is the time loop's own.
#pragma once

#include "core/hd.h"

namespace snn {

struct Leaky {
  static constexpr const char* name = "leaky";
  static constexpr int states = 1, params = 1, constants = 3;
  static constexpr bool linear = false;  // r depends on v

  template <class Real>
  SNN_HD static Real fired(const Real* v, const Real* c) {
    return v[0] >= c[0] ? Real(1) : Real(0);
  }

  template <class Real>
  SNN_HD static void charge(Real* v, Real x, const Real* p, const Real* c) {
    const Real r = fired(v, c);
    v[0] = p[0] * ((Real(1) - r * c[1]) * v[0]) + x - r * c[2];
  }

  template <class Real>
  SNN_HD static Real charge_vjp(const Real* v, Real, const Real* p, const Real* c, Real* g) {
    const Real g_x = g[0];
    g[0] *= p[0] * (Real(1) - fired(v, c) * c[1]);
    return g_x;
  }

  template <class Real>
  SNN_HD static void params_vjp(const Real* v, Real, const Real*, const Real* c, const Real* g, Real* g_p) {
    g_p[0] += g[0] * (Real(1) - fired(v, c) * c[1]) * v[0];
  }
};

}  // namespace snn
