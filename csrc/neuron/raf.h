// Resonate and fire: z = u + i v turns and decays, z = exp((b + i omega) dt) z + x, and fires with its imaginary part
// v. p[1]: exp(b dt) cos(omega dt), p[2]: exp(b dt) sin(omega dt).  states: v, u (never reset).
#pragma once

#include "core/stages.h"

namespace snn {

struct ResonateFire : Stages<2> {
  static constexpr const char* name = "raf";
  static constexpr int states = 2, constants = 0;
  static constexpr bool linear = true;

  template <class Real>
  SNN_HD static void charge(Real* v, Real x, const Real* p, const Real*) {
    const Real u = p[1] * v[1] - p[2] * v[0] + x;
    v[0] = p[2] * v[1] + p[1] * v[0];
    v[1] = u;
  }

  template <class Real>
  SNN_HD static Real charge_vjp(const Real* v, Real, const Real* p, const Real*, Real* g, Real* g_p) {
    const Real g_h = g[0], g_u = g[1];
    g_p[1] += g_u * v[1] + g_h * v[0];
    g_p[2] += g_h * v[1] - g_u * v[0];
    g[0] = g_h * p[1] - g_u * p[2];
    g[1] = g_u * p[1] + g_h * p[2];
    return g_u;
  }
};

}  // namespace snn
