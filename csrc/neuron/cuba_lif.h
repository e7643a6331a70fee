// Current-based leaky integrate and fire: i = p[1] * i + x, h = p[2] * v + i with the new current.
// p[1]: decay of the current, p[2]: decay of the potential.  states: v, i.
#pragma once

#include "core/stages.h"

namespace snn {

struct CubaLif : Stages<2> {
  static constexpr const char* name = "cubalif";
  static constexpr int states = 2, constants = 0;
  static constexpr bool linear = true;

  template <class Real>
  SNN_HD static void charge(Real* v, Real x, const Real* p, const Real*) {
    v[1] = p[1] * v[1] + x;
    v[0] = p[2] * v[0] + v[1];
  }

  template <class Real>
  SNN_HD static Real charge_vjp(const Real* v, Real, const Real* p, const Real*, Real* g, Real* g_p) {
    const Real g_h = g[0], g_i = g[1] + g_h;
    g_p[1] += g_i * v[1];
    g_p[2] += g_h * v[0];
    g[0] = g_h * p[2];
    g[1] = g_i * p[1];
    return g_i;
  }
};

}  // namespace snn
