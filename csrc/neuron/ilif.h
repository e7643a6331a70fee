// LIF with temporal inhibition: an inhibitory current i, fed by the input of spikes, is taken from the input, and an
// inhibitory membrane m, fed by the potential that spikes leave, from the potential.
//   i = current_decay * (i + q),  h = v - v * rate + (x - max(i, 0)) * gain,  gain = decay_input ? rate : 1
//   v = reset(h),  m = membrane_decay * (m + spike * v),  v = v - spike * sigmoid(m),  q = x * spike
// States: v, m, i, q; between charge and settle the last holds x.
// p[1]: rate = 1 / tau.  constants: decay_input (0 or 1), current_decay, membrane_decay.
#pragma once

#include "core/math.h"
#include "core/stages.h"

namespace snn {

struct InhibitoryLif : Stages<1> {
  static constexpr const char* name = "ilif";
  static constexpr int states = 4, constants = 3;

  template <class Real>
  SNN_HD static Real gain(const Real* p, const Real* c) {
    return c[0] != Real(0) ? p[1] : Real(1);
  }
  template <class Real>
  SNN_HD static Real current(const Real* v, const Real* c) {
    return c[1] * (v[2] + v[3]);
  }

  template <class Real>
  SNN_HD static void charge(Real* v, Real x, const Real* p, const Real* c) {
    const Real i = current(v, c);
    v[0] = v[0] - v[0] * p[1] + (x - maximum(i, Real(0))) * gain(p, c);
    v[2] = i;
    v[3] = x;
  }
  // A silent neuron has i = 0 exactly; there the gradient passes.
  template <class Real>
  SNN_HD static Real charge_vjp(const Real* v, Real x, const Real* p, const Real* c, Real* g, Real* g_p) {
    const Real g_h = g[0], i = current(v, c), driven = g_h * gain(p, c);
    const Real g_i = c[1] * (g[2] - (i >= Real(0) ? driven : Real(0)));
    const Real g_x = driven + g[3];
    g_p[1] += g_h * ((c[0] != Real(0) ? x - maximum(i, Real(0)) : Real(0)) - v[0]);
    g[0] = g_h - g_h * p[1];
    g[2] = g_i;
    g[3] = g_i;
    return g_x;
  }

  template <class Real>
  SNN_HD static void settle(Real* v, const Real* s, const Reset<Real>& reset, const Real* p, const Real* c) {
    const Real left = reset.after(v[0], s[0], p[0]);
    const Real m = c[2] * (v[1] + s[0] * left);
    v[0] = left - s[0] * logistic(m);
    v[1] = m;
    v[3] = v[3] * s[0];
  }
  template <class Real>
  SNN_HD static void settle_vjp(const Real* h, const Real* s, const Reset<Real>& reset, const Real* p, const Real* c,
                                Real* g, Real* g_s, Real* g_p) {
    const Real left = reset.after(h[0], s[0], p[0]);
    const Real y = logistic(c[2] * (h[1] + s[0] * left));
    const Real g_m = c[2] * (g[1] - g[0] * s[0] * (y * (Real(1) - y)));
    const Real g_left = g[0] + g_m * s[0];
    g_s[0] += g_m * left - g[0] * y + g[3] * h[3] + reset.to_spike(g_left, h[0], p[0]);
    g_p[0] += g_left * reset.dv_dthreshold(s[0]);
    g[0] = g_left * reset.dv_dh(s[0]);
    g[1] = g_m;
    g[3] = g[3] * s[0];
  }
};

}  // namespace snn
