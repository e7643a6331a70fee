// Gated LIF, its gates folded into coefficients: h = v - leak + x * gain, and after the spike
//   v = decay * (h - spike * (wipe * h)) - spike * drop
// where exponential and linear leak (decay, leak), wiping and subtracting reset (wipe, drop) are all at work, each as
// far as its gate lets it. The leak of v comes with the reset, so that one state carries what the next step needs.
// p[1]: decay, p[2]: wipe, p[3]: leak, p[4]: drop, p[5]: gain.
#pragma once

#include "core/stages.h"

namespace snn {

struct GatedLif : Stages<5> {
  static constexpr const char* name = "glif";
  static constexpr int states = 1, constants = 0;
  static constexpr bool linear = true;

  template <class Real>
  SNN_HD static void charge(Real* v, Real x, const Real* p, const Real*) {
    v[0] = v[0] - p[3] + x * p[5];
  }
  template <class Real>
  SNN_HD static Real charge_vjp(const Real*, Real x, const Real* p, const Real*, Real* g, Real* g_p) {
    g_p[3] -= g[0];
    g_p[5] += g[0] * x;
    return g[0] * p[5];
  }

  template <class Real>
  SNN_HD static void settle(Real* v, const Real* s, const Reset<Real>&, const Real* p, const Real*) {
    v[0] = p[1] * (v[0] - s[0] * (p[2] * v[0])) - s[0] * p[4];
  }
  template <class Real>
  SNN_HD static void settle_vjp(const Real* h, const Real* s, const Reset<Real>& reset, const Real* p, const Real*,
                                Real* g, Real* g_s, Real* g_p) {
    const Real g_v = g[0], g_kept = g_v * p[1];
    g_s[0] -= reset.through(g_kept * (p[2] * h[0]) + g_v * p[4]);
    g_p[1] += g_v * (h[0] - s[0] * (p[2] * h[0]));
    g_p[2] -= g_kept * (s[0] * h[0]);
    g_p[4] -= g_v * s[0];
    g[0] = g_kept - g_kept * (s[0] * p[2]);
  }
};

}  // namespace snn
