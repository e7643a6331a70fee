// CubaLif with snnTorch's delayed reset of the potential; the current is never reset.
// p[1]: alpha, decay of the current, p[2]: beta, decay of the potential, p[3]: the threshold that the delayed reset
// looks at.  states: v, i.  constants: zero, subtract (neuron/delayed_reset.h).
#pragma once

#include "neuron/cuba_lif.h"
#include "neuron/delayed_reset.h"

namespace snn {

struct Synaptic : Stages<3> {
  static constexpr const char* name = "synaptic";
  static constexpr int states = 2, constants = 2;

  template <class Real>
  SNN_HD static void charge(Real* v, Real x, const Real* p, const Real* c) {
    const auto reset = DelayedReset<Real>::of(v[0], p[3], c);
    CubaLif::charge(v, x, p, c);
    v[0] = reset.after(v[0], p[3]);
  }

  template <class Real>
  SNN_HD static Real charge_vjp(const Real* v, Real x, const Real* p, const Real* c, Real* g, Real* g_p) {
    const auto reset = DelayedReset<Real>::of(v[0], p[3], c);
    g_p[3] += reset.dv_threshold(g[0]);
    g[0] = reset.du(g[0]);
    return CubaLif::charge_vjp(v, x, p, c, g, g_p);
  }
};

}  // namespace snn
