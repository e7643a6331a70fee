// Leaky integrator given by its decay: h = beta * v + x, with the reset of the step before folded in when delayed.
//   delayed subtract:  h = beta * v + x - r * v_threshold,  delayed zero:  h = beta * (v - r * v) + x,
//   r = (v >= v_threshold), which carries no gradient.
// p[1]: beta, p[2]: the threshold that the delayed reset looks at.  constants: zero (1: delayed zero), subtract (1:
// delayed subtract). With both 0 the reset is the time loop's own.
#pragma once

#include "core/stages.h"

namespace snn {

struct Leaky : Stages<2> {
  static constexpr const char* name = "leaky";
  static constexpr int states = 1, constants = 2;

  template <class Real>
  SNN_HD static Real fired(const Real* v, const Real* p) {
    return v[0] >= p[2] ? Real(1) : Real(0);
  }

  template <class Real>
  SNN_HD static void charge(Real* v, Real x, const Real* p, const Real* c) {
    const Real r = fired(v, p);
    v[0] = p[1] * ((Real(1) - r * c[0]) * v[0]) + x - r * (c[1] * p[2]);
  }

  template <class Real>
  SNN_HD static Real charge_vjp(const Real* v, Real, const Real* p, const Real* c, Real* g, Real* g_p) {
    const Real g_h = g[0], r = fired(v, p), kept = Real(1) - r * c[0];
    g_p[2] -= g_h * (r * c[1]);
    g_p[1] += g_h * (kept * v[0]);
    g[0] = g_h * (p[1] * kept);
    return g_h;
  }
};

}  // namespace snn
