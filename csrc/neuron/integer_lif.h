// Leaky integrate and fire with spikes of several levels, 0 to D.
//   h = decay * v + x;  u = h * steps / v_threshold;  spike = round(clip(u, 0, D));  v = h - spike * v_threshold /
//   steps
// The reset is always this subtraction.  p[1]: decay.  constants: D; steps, how many levels make up v_threshold;
// half_up, how a tie is rounded (0: to even, 1: up); scale, what leaves per level.
#pragma once

#include "core/math.h"
#include "core/stages.h"

namespace snn {

struct IntegerLIF : Stages<1> {
  static constexpr const char* name = "integer_lif";
  static constexpr int states = 1, constants = 4;
  static constexpr bool own_margin = true, linear = true;

  template <class Real>
  SNN_HD static void charge(Real* v, Real x, const Real* p, const Real*) {
    v[0] = p[1] * v[0] + x;
  }
  template <class Real>
  SNN_HD static Real charge_vjp(const Real* v, Real, const Real* p, const Real*, Real* g, Real* g_p) {
    const Real g_h = g[0];
    g_p[1] += g_h * v[0];
    g[0] = g_h * p[1];
    return g_h;
  }

  template <class Real>
  SNN_HD static void margin(const Real* h, const Real* p, const Real* c, Real* u) {
    u[0] = h[0] * c[1] / p[0];
  }
  template <class Real>
  SNN_HD static void margin_vjp(const Real* h, const Real* p, const Real* c, const Real* g_u, Real* g, Real* g_p) {
    const Real g_ratio = g_u[0] * c[1] / p[0];
    g[0] += g_ratio;
    g_p[0] -= g_ratio * (h[0] / p[0]);
  }

  template <class Real>
  SNN_HD static Real fire(Real u, const Real* c) {
    const Real above = u < Real(0) ? Real(0) : u;
    const Real clipped = above > c[0] ? c[0] : above;
    const Real even = (clipped + Bits<Real>::round_magic) - Bits<Real>::round_magic;
    const Real shifted = clipped + Real(0.5);
    const Real near = (shifted + Bits<Real>::round_magic) - Bits<Real>::round_magic;
    const Real up = near - (near > shifted ? Real(1) : Real(0));  // the floor of `shifted`
    return c[2] != Real(0) ? up : even;
  }

  template <class Real>
  SNN_HD static Real emit(const Real* s, const Real*, const Real* c) {
    return s[0] * c[3];
  }
  template <class Real>
  SNN_HD static void emit_vjp(const Real*, const Real*, const Real* c, Real g_out, Real* g_s, Real*) {
    g_s[0] += g_out * c[3];
  }

  template <class Real>
  SNN_HD static void settle(Real* v, const Real* s, const Reset<Real>&, const Real* p, const Real* c) {
    v[0] = v[0] - s[0] * (p[0] / c[1]);
  }
  template <class Real>
  SNN_HD static void settle_vjp(const Real*, const Real* s, const Reset<Real>& reset, const Real* p, const Real* c,
                                Real* g, Real* g_s, Real* g_p) {
    g_s[0] -= reset.through(g[0] * (p[0] / c[1]));
    g_p[0] -= g[0] * (s[0] / c[1]);
  }
};

}  // namespace snn
