// Leaky integrate and fire.
//   decay_input:  h = v - (v - v_rest) * rate + x * rate
//   otherwise:    h = v - (v - v_rest) * rate + x
// p[1]: rate = 1 / tau.  constants: v_rest, decay_input (0 or 1).
#pragma once

#include "core/stages.h"

namespace snn {

struct LeakyIntegrateFire : Stages<1> {
  static constexpr const char* name = "lif";
  static constexpr int states = 1, constants = 2;
  static constexpr bool linear = true;

  template <class Real>
  SNN_HD static Real gain(const Real* p, const Real* c) {
    return c[1] != Real(0) ? p[1] : Real(1);
  }

  template <class Real>
  SNN_HD static void charge(Real* v, Real x, const Real* p, const Real* c) {
    v[0] = v[0] - (v[0] - c[0]) * p[1] + x * gain(p, c);
  }

  template <class Real>
  SNN_HD static Real charge_vjp(const Real* v, Real x, const Real* p, const Real* c, Real* g, Real* g_p) {
    const Real g_h = g[0];
    g_p[1] += g_h * ((c[1] != Real(0) ? x : Real(0)) - (v[0] - c[0]));
    g[0] = g_h - g_h * p[1];
    return g_h * gain(p, c);
  }
};

}  // namespace snn
