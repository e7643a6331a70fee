// LIF with a refractory threshold: h as in lif.h; a neuron that fired meets a threshold `alpha` times as high in the
// next step, one that did not the plain one. The threshold is f * v_threshold with f in v[1], 1 at rest.
//   fires where h >= f * v_threshold; the reset sees that threshold; then f = fired ? alpha * f : 1, without gradient.
// p[1]: rate = 1 / tau.  constants: v_rest, decay_input (0 or 1), alpha.
#pragma once

#include "core/stages.h"
#include "neuron/lif.h"

namespace snn {

struct RefractoryLif : Stages<1> {
  static constexpr const char* name = "rplif";
  static constexpr int states = 2, constants = 3;
  static constexpr bool own_margin = true, linear = true;

  template <class Real>
  SNN_HD static void charge(Real* v, Real x, const Real* p, const Real* c) {
    LeakyIntegrateFire::charge(v, x, p, c);
  }
  template <class Real>
  SNN_HD static Real charge_vjp(const Real* v, Real x, const Real* p, const Real* c, Real* g, Real* g_p) {
    return LeakyIntegrateFire::charge_vjp(v, x, p, c, g, g_p);
  }

  template <class Real>
  SNN_HD static void margin(const Real* h, const Real* p, const Real*, Real* u) {
    u[0] = h[0] - h[1] * p[0];
  }
  template <class Real>
  SNN_HD static void margin_vjp(const Real* h, const Real* p, const Real*, const Real* g_u, Real* g, Real* g_p) {
    g[0] += g_u[0];
    g[1] -= g_u[0] * p[0];
    g_p[0] -= g_u[0] * h[1];
  }

  // The new factor follows the decision itself, not the spike, which is a fraction where it is smooth.
  template <class Real>
  SNN_HD static void settle(Real* v, const Real* s, const Reset<Real>& reset, const Real* p, const Real* c) {
    const Real threshold = v[1] * p[0];
    const Real raised = v[0] - threshold >= Real(0) ? v[1] * c[2] : Real(1);
    v[0] = reset.after(v[0], s[0], threshold);
    v[1] = raised;
  }
  template <class Real>
  SNN_HD static void settle_vjp(const Real* h, const Real* s, const Reset<Real>& reset, const Real* p, const Real*,
                                Real* g, Real* g_s, Real* g_p) {
    const Real g_threshold = g[0] * reset.dv_dthreshold(s[0]);
    g_s[0] += reset.to_spike(g[0], h[0], h[1] * p[0]);
    g_p[0] += g_threshold * h[1];
    g[1] = g_threshold * p[0];
    g[0] *= reset.dv_dh(s[0]);
  }
};

}  // namespace snn
