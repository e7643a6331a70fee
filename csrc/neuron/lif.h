// Leaky integrate and fire.
//   decay_input:  h = v + (x - (v - v_rest)) / tau
//   otherwise:    h = v - (v - v_rest) / tau + x
// params: tau.  constants: v_rest, decay_input (0 or 1).
#pragma once

#include "core/hd.h"

namespace snn {

struct LeakyIntegrateFire {
  static constexpr const char* name = "lif";
  static constexpr int states = 1, params = 1, constants = 2;
  static constexpr bool linear = true;

  // One expression for both forms: x goes inside the leak or beside it, and the other place gets an exact zero.
  template <class Real>
  SNN_HD static void charge(Real* v, Real x, const Real* p, const Real* c) {
    const bool decay_input = c[1] != Real(0);
    const Real inside = decay_input ? x : Real(0), outside = decay_input ? Real(0) : x;
    v[0] = v[0] + (inside - (v[0] - c[0])) / p[0] + outside;
  }

  template <class Real>
  SNN_HD static Real charge_vjp(const Real*, Real, const Real* p, const Real* c, Real* g) {
    const Real leak = g[0] / p[0];
    const Real g_x = c[1] != Real(0) ? leak : g[0];
    g[0] -= leak;
    return g_x;
  }

  template <class Real>
  SNN_HD static void params_vjp(const Real* v, Real x, const Real* p, const Real* c, const Real* g, Real* g_p) {
    const Real inside = c[1] != Real(0) ? x : Real(0);
    g_p[0] -= g[0] * (inside - (v[0] - c[0])) / (p[0] * p[0]);
  }
};

}  // namespace snn
