// Lapicque's RC circuit with snnTorch's delayed reset: u = p[1] * v + p[2] * x.
// p[1]: decay of the potential, p[2]: gain of the input, p[3]: the threshold that the delayed reset looks at.
// constants: zero, subtract (neuron/delayed_reset.h).
#pragma once

#include "core/stages.h"
#include "neuron/delayed_reset.h"

namespace snn {

struct Lapicque : Stages<3> {
  static constexpr const char* name = "lapicque";
  static constexpr int states = 1, constants = 2;

  template <class Real>
  SNN_HD static void charge(Real* v, Real x, const Real* p, const Real* c) {
    const auto reset = DelayedReset<Real>::of(v[0], p[3], c);
    v[0] = reset.after(p[1] * v[0] + p[2] * x, p[3]);
  }

  template <class Real>
  SNN_HD static Real charge_vjp(const Real* v, Real x, const Real* p, const Real* c, Real* g, Real* g_p) {
    const auto reset = DelayedReset<Real>::of(v[0], p[3], c);
    const Real g_u = reset.du(g[0]);
    g_p[3] += reset.dv_threshold(g[0]);
    g_p[1] += g_u * v[0];
    g_p[2] += g_u * x;
    g[0] = g_u * p[1];
    return g_u * p[2];
  }
};

}  // namespace snn
