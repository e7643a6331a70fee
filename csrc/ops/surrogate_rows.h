// Surrogates as functions over rows of lanes, for one copy of the CPU kernels (anonymous namespace: see rows.h).
#pragma once

#include "core/surrogate.h"
#include "core/time_loop.h"
#include "ops/neuron_args.h"

namespace snn {
namespace {

// `a` is a row of alpha, or nullptr for the number in `p`.
template <class S, class Real>
struct SurrogateRows {
  static void step(const Real* u, const Real* a, Real* out, int n, SurrogateArgs<Real> p) {
    for (int i = 0; i < n; ++i) out[i] = S::step(u[i], SurrogateArgs<Real>{a ? a[i] : p.a, p.b});
  }
  static void grad_above(const Real* h, Real v_threshold, Real* out, int n, SurrogateArgs<Real> p) {
    SNN_LANES
    for (int i = 0; i < n; ++i) out[i] = S::grad(h[i] - v_threshold, p);
  }
  static void grad(const Real* u, const Real* a, Real* out, int n, SurrogateArgs<Real> p) {
    if (!a) return grad_above(u, Real(0), out, n, p);
    SNN_LANES
    for (int i = 0; i < n; ++i) out[i] = S::grad(u[i], SurrogateArgs<Real>{a[i], p.b});
  }
  static void grad_alpha(const Real* u, const Real* a, Real* out, int n, SurrogateArgs<Real> p) {
    SNN_LANES
    for (int i = 0; i < n; ++i) out[i] = S::grad_alpha(u[i], SurrogateArgs<Real>{a[i], p.b});
  }
};

// The surrogate of this call, chosen before the loops start.
template <class Real>
struct HostSurrogate {
  using Above = void (*)(const Real*, Real, Real*, int, SurrogateArgs<Real>);
  using Row = void (*)(const Real*, const Real*, Real*, int, SurrogateArgs<Real>);
  Above grad_above_row;
  Row step_row, grad_row, grad_alpha_row;
  SurrogateArgs<Real> args;

  template <class... S>
  static HostSurrogate choose(SurrogateList<S...>, const NeuronArgs& a) {
    constexpr HostSurrogate all[] = {of<S>()...};
    HostSurrogate chosen = all[a.surrogate];
    chosen.args = {Real(a.surrogate_a), Real(a.surrogate_b)};
    return chosen;
  }
  void step(const Real* u, const Real* a, Real* out, int n) const { step_row(u, a, out, n, args); }
  void grad(const Real* h, Real v_threshold, Real* out, int n) const { grad_above_row(h, v_threshold, out, n, args); }
  void grad(const Real* u, const Real* a, Real* out, int n) const { grad_row(u, a, out, n, args); }
  void grad_alpha(const Real* u, const Real* a, Real* out, int n) const { grad_alpha_row(u, a, out, n, args); }

 private:
  template <class S>
  static constexpr HostSurrogate of() {
    using R = SurrogateRows<S, Real>;
    if constexpr (kHasSmooth<Real>) {
      return {R::grad_above, R::step, R::grad, R::grad_alpha, {}};
    } else {
      return {R::grad_above, nullptr, R::grad, R::grad_alpha, {}};
    }
  }
};

}  // namespace
}  // namespace snn
