// Stands before csrc/neuron/all.h in the emulation's build. What the engine does depends on a neuron's counts alone, so
// two are enough: LIF, and one of several states and conditions that is no neuron at all.
#pragma once

#include "neuron/lif.h"

namespace snn {

template <class... N>
struct NeuronList {
  static constexpr int size = sizeof...(N);
};

// Both engines run the same arithmetic, so derivatives need not be right here, only different from each other.
struct Several : Stages<3> {
  static constexpr const char* name = "several";
  static constexpr int states = 3, constants = 1, fires = 2;
  static constexpr bool own_margin = true;

  template <class Real>
  SNN_HD static void charge(Real* v, Real x, const Real* p, const Real* c) {
    v[1] = v[1] * p[1] + x;
    v[2] = v[2] * p[2] + v[1] * x * c[0];
    v[0] = v[0] * p[3] + v[1] - v[2];
  }
  template <class Real>
  SNN_HD static Real charge_vjp(const Real* v, Real x, const Real* p, const Real* c, Real* g, Real* g_p) {
    g_p[1] += g[1] * v[1];
    g_p[2] += g[2] * v[2];
    g_p[3] += g[0] * v[0];
    g[1] = (g[1] + g[0] + g[2] * x * c[0]) * p[1];
    g[2] = (g[2] - g[0]) * p[2];
    g[0] = g[0] * p[3];
    return g[1] + g[2] * v[1] * c[0];
  }
  template <class Real>
  SNN_HD static void margin(const Real* h, const Real* p, const Real*, Real* u) {
    u[0] = h[0] - p[0];
    u[1] = -h[0] - p[0] - p[1];
  }
  template <class Real>
  SNN_HD static void margin_vjp(const Real*, const Real*, const Real*, const Real* g_u, Real* g, Real* g_p) {
    g[0] += g_u[0] - g_u[1];
    g_p[0] -= g_u[0] + g_u[1];
    g_p[1] -= g_u[1];
  }
  template <class Real>
  SNN_HD static Real emit(const Real* s, const Real*, const Real*) {
    return s[0] - s[1];
  }
  template <class Real>
  SNN_HD static void emit_vjp(const Real*, const Real*, const Real*, Real g_out, Real* g_s, Real*) {
    g_s[0] += g_out;
    g_s[1] -= g_out;
  }
  template <class Real>
  SNN_HD static void settle(Real* v, const Real* s, const Reset<Real>& reset, const Real* p, const Real*) {
    v[0] = reset.after(v[0], s[0], p[0]);
    v[2] = v[2] + s[1];
  }
  template <class Real>
  SNN_HD static void settle_vjp(const Real* h, const Real* s, const Reset<Real>& reset, const Real* p, const Real*,
                                Real* g, Real* g_s, Real* g_p) {
    g_s[0] += reset.through(g[0] * reset.dv_ds(h[0], p[0]));
    g_s[1] += g[2];
    g_p[0] += g[0] * reset.dv_dthreshold(s[0]);
    g[0] *= reset.dv_dh(s[0]);
  }
};

using Neurons = NeuronList<LeakyIntegrateFire, Several>;

}  // namespace snn
