// snnTorch's Alpha: the potential is read out of an excitatory current e and an inhibitory one n,
//   e = p[1] * e + x,  n = p[2] * n - x,  h = p[3] * (e + n),
// with the reset of the step before folded in, r = (v >= p[4]), which carries no gradient:
//   zero: e, n and h times (1 - r);  subtract: e - r * p[4], n * (1 - r), h + r * (n before this step).
// p[1]: alpha, p[2]: beta, p[3]: gain, p[4]: the threshold that the reset looks at.  states: h, e, n.
// constants: zero, subtract (at most one of them 1).
#pragma once

#include "core/stages.h"
#include "neuron/delayed_reset.h"

namespace snn {

struct Alpha : Stages<4> {
  static constexpr const char* name = "alpha";
  static constexpr int states = 3, constants = 2;

  template <class Real>
  SNN_HD static void charge(Real* v, Real x, const Real* p, const Real* c) {
    const auto reset = DelayedReset<Real>::of(v[0], p[4], c);
    const Real n = v[2], e_new = p[1] * v[1] + x, n_new = p[2] * n - x, h = p[3] * (e_new + n_new);
    v[0] = reset.du(h) + (reset.subtract != Real(0) ? n : Real(0));
    v[1] = reset.after(e_new, p[4]);
    v[2] = reset.zero + reset.subtract != Real(0) ? Real(0) : n_new;
  }

  template <class Real>
  SNN_HD static Real charge_vjp(const Real* v, Real x, const Real* p, const Real* c, Real* g, Real* g_p) {
    const auto reset = DelayedReset<Real>::of(v[0], p[4], c);
    const Real g_h = reset.du(g[0]), g_sum = g_h * p[3];
    const Real g_e = reset.du(g[1]) + g_sum;
    const Real g_n = (reset.zero + reset.subtract != Real(0) ? Real(0) : g[2]) + g_sum;
    g_p[1] += g_e * v[1];
    g_p[2] += g_n * v[2];
    g_p[3] += g_h * ((p[1] * v[1] + x) + (p[2] * v[2] - x));
    g_p[4] += reset.dv_threshold(g[1]);
    g[2] = g_n * p[2] + (reset.subtract != Real(0) ? g[0] : Real(0));
    g[1] = g_e * p[1];
    g[0] = Real(0);  // h is read out of the currents, not carried on
    return g_e - g_n;
  }
};

}  // namespace snn
