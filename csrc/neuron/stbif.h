// Ternary bipolar integrate and fire with a spike counter: over time it emits what a quantiser rounds its input sum to.
//   q = q + x / scale;  +1 where q >= 1 and the count is below `most`;  -1 where q < 0 and the count is above `least`
//   q and the count move by the spike, and spike * scale leaves.
// States: q (in units of scale), count. Conditions: q >= 1 and q >= 0, of which the second counts where it fails.
// A side that the count closes is held at the margin it has at rest, where q = 1/2, and that is no function of q.
// p[1]: scale (p[0] is not read).  constants: most, least.
#pragma once

#include "core/stages.h"

namespace snn {

struct SpikeTracer : Stages<1> {
  static constexpr const char* name = "stbif";
  static constexpr int states = 2, constants = 2, fires = 2;
  static constexpr bool own_margin = true, linear = true;

  template <class Real>
  SNN_HD static void charge(Real* v, Real x, const Real* p, const Real*) {
    v[0] = v[0] + x / p[1];
  }
  template <class Real>
  SNN_HD static Real charge_vjp(const Real*, Real x, const Real* p, const Real*, Real* g, Real* g_p) {
    const Real g_x = g[0] / p[1];
    g_p[1] -= g_x * (x / p[1]);
    return g_x;
  }

  template <class Real>
  SNN_HD static void margin(const Real* h, const Real*, const Real* c, Real* u) {
    u[0] = h[1] < c[0] ? h[0] - Real(1) : Real(-0.5);
    u[1] = h[1] > c[1] ? h[0] : Real(0.5);
  }
  template <class Real>
  SNN_HD static void margin_vjp(const Real* h, const Real*, const Real* c, const Real* g_u, Real* g, Real*) {
    g[0] += (h[1] < c[0] ? g_u[0] : Real(0)) + (h[1] > c[1] ? g_u[1] : Real(0));
  }

  template <class Real>
  SNN_HD static Real spike(const Real* s) {
    return s[0] - (Real(1) - s[1]);
  }
  template <class Real>
  SNN_HD static Real emit(const Real* s, const Real* p, const Real*) {
    return spike(s) * p[1];
  }
  template <class Real>
  SNN_HD static void emit_vjp(const Real* s, const Real* p, const Real*, Real g_out, Real* g_s, Real* g_p) {
    g_s[0] += g_out * p[1];
    g_s[1] += g_out * p[1];
    g_p[1] += g_out * spike(s);
  }

  template <class Real>
  SNN_HD static void settle(Real* v, const Real* s, const Reset<Real>&, const Real*, const Real*) {
    v[0] = v[0] - spike(s);
    v[1] = v[1] + spike(s);
  }
  template <class Real>
  SNN_HD static void settle_vjp(const Real*, const Real*, const Reset<Real>& reset, const Real*, const Real*, Real* g,
                                Real* g_s, Real*) {
    const Real g_spike = g[1] - reset.through(g[0]);
    g_s[0] += g_spike;
    g_s[1] += g_spike;
  }
};

}  // namespace snn
