// Surrogate gradients: one struct each, u = h - v_threshold.
//   step(u)  the smooth function that stands in for the Heaviside step (used as forward only in gradient checks)
//   grad(u)  its derivative, used in backward
//   grad_alpha(u)  derivative of step(u) with respect to `a`, where that is a slope that can be learned
// `a` and `b` are run-time numbers; their meaning, defaults and sources stand in python/snncore/surrogate.py.
#pragma once

#include "core/math.h"

namespace snn {

template <class Real>
struct SurrogateArgs {
  Real a, b;
};

// step is a function of a * u alone.
template <class S>
struct OfScaled {
  static constexpr bool learnable = true;
  template <class Real>
  SNN_HD static Real grad_alpha(Real u, SurrogateArgs<Real> p) {
    return u * S::grad(u, p) / p.a;
  }
};

struct NotLearnable {
  static constexpr bool learnable = false;
  template <class Real>
  SNN_HD static Real grad_alpha(Real, SurrogateArgs<Real>) {
    return Real(0);
  }
};

struct Learnable {
  static constexpr bool learnable = true;
};

struct Sigmoid : OfScaled<Sigmoid> {
  static constexpr const char* name = "sigmoid";
  template <class Real>
  SNN_HD static Real step(Real u, SurrogateArgs<Real> p) {
    const Real e = exp_decay(-absolute(p.a * u));
    return (u < Real(0) ? e : Real(1)) / (Real(1) + e);
  }
  template <class Real>
  SNN_HD static Real grad(Real u, SurrogateArgs<Real> p) {
    const Real e = exp_decay(-absolute(p.a * u));
    const Real d = Real(1) + e;
    return p.a * e / (d * d);
  }
};

struct ATan : OfScaled<ATan> {
  static constexpr const char* name = "atan";
  template <class Real>
  SNN_HD static Real step(Real u, SurrogateArgs<Real> p) {
    return Real(atan(double(Real(1.57079632679489661923) * p.a * u)) * 0.31830988618379067154 + 0.5);
  }
  template <class Real>
  SNN_HD static Real grad(Real u, SurrogateArgs<Real> p) {
    const Real z = Real(1.57079632679489661923) * p.a * u;
    return Real(0.5) * p.a / (Real(1) + z * z);
  }
};

struct PiecewiseQuadratic : OfScaled<PiecewiseQuadratic> {
  static constexpr const char* name = "piecewise_quadratic";
  template <class Real>
  SNN_HD static Real step(Real u, SurrogateArgs<Real> p) {
    const Real z = maximum(minimum(p.a * u, Real(1)), Real(-1));
    return z - Real(0.5) * z * absolute(z) + Real(0.5);
  }
  template <class Real>
  SNN_HD static Real grad(Real u, SurrogateArgs<Real> p) {
    return maximum(Real(0), p.a - p.a * p.a * absolute(u));
  }
};

struct PiecewiseExp : OfScaled<PiecewiseExp> {
  static constexpr const char* name = "piecewise_exp";
  template <class Real>
  SNN_HD static Real step(Real u, SurrogateArgs<Real> p) {
    const Real e = Real(0.5) * exp_negative(-p.a * absolute(u));
    return u < Real(0) ? e : Real(1) - e;
  }
  template <class Real>
  SNN_HD static Real grad(Real u, SurrogateArgs<Real> p) {
    return Real(0.5) * p.a * exp_negative(-p.a * absolute(u));
  }
};

struct SoftSign : OfScaled<SoftSign> {
  static constexpr const char* name = "soft_sign";
  template <class Real>
  SNN_HD static Real step(Real u, SurrogateArgs<Real> p) {
    const Real z = p.a * u;
    return Real(0.5) * (z / (Real(1) + absolute(z)) + Real(1));
  }
  template <class Real>
  SNN_HD static Real grad(Real u, SurrogateArgs<Real> p) {
    const Real d = Real(1) + absolute(p.a * u);
    return Real(0.5) * p.a / (d * d);
  }
};

struct SuperSpike : Learnable {
  static constexpr const char* name = "super_spike";
  template <class Real>
  SNN_HD static Real step(Real u, SurrogateArgs<Real> p) {
    return p.a * u / (Real(1) + absolute(u));
  }
  template <class Real>
  SNN_HD static Real grad(Real u, SurrogateArgs<Real> p) {
    const Real d = Real(1) + absolute(u);
    return p.a / (d * d);
  }
  template <class Real>
  SNN_HD static Real grad_alpha(Real u, SurrogateArgs<Real>) {
    return u / (Real(1) + absolute(u));
  }
};

struct FastSigmoid : Learnable {
  static constexpr const char* name = "fast_sigmoid";
  template <class Real>
  SNN_HD static Real step(Real u, SurrogateArgs<Real> p) {
    return u / (Real(1) + p.a * absolute(u));
  }
  template <class Real>
  SNN_HD static Real grad(Real u, SurrogateArgs<Real> p) {
    const Real d = Real(1) + p.a * absolute(u);
    return Real(1) / (d * d);
  }
  template <class Real>
  SNN_HD static Real grad_alpha(Real u, SurrogateArgs<Real> p) {
    const Real d = Real(1) + p.a * absolute(u);
    return -u * absolute(u) / (d * d);
  }
};

struct Erf : OfScaled<Erf> {
  static constexpr const char* name = "erf";
  template <class Real>
  SNN_HD static Real step(Real u, SurrogateArgs<Real> p) {
    return Real(0.5 * erfc(double(-p.a * u)));
  }
  template <class Real>
  SNN_HD static Real grad(Real u, SurrogateArgs<Real> p) {
    const Real z = p.a * u;
    return p.a * Real(0.56418958354775628695) * exp_decay(-z * z);
  }
};

struct NonzeroSignLogAbs : OfScaled<NonzeroSignLogAbs> {
  static constexpr const char* name = "nonzero_sign_log_abs";
  template <class Real>
  SNN_HD static Real step(Real u, SurrogateArgs<Real> p) {
    const Real l = log_positive(Real(1) + absolute(p.a * u));
    return u < Real(0) ? -l : l;
  }
  template <class Real>
  SNN_HD static Real grad(Real u, SurrogateArgs<Real> p) {
    return p.a / (Real(1) + p.a * absolute(u));
  }
};

struct PiecewiseLeakyReLU : NotLearnable {  // a = w, b = c
  static constexpr const char* name = "piecewise_leaky_relu";
  template <class Real>
  SNN_HD static Real step(Real u, SurrogateArgs<Real> p) {
    const Real inner = u / (Real(2) * p.a) + Real(0.5);
    const Real outer = u < Real(0) ? p.b * (u + p.a) : p.b * (u - p.a) + Real(1);
    return absolute(u) < p.a ? inner : outer;
  }
  template <class Real>
  SNN_HD static Real grad(Real u, SurrogateArgs<Real> p) {
    return absolute(u) < p.a ? Real(0.5) / p.a : p.b;
  }
};

struct SquarewaveFourierSeries : NotLearnable {  // a = n, b = T_period
  static constexpr const char* name = "squarewave_fourier_series";
  template <class Real>
  SNN_HD static Real step(Real u, SurrogateArgs<Real> p) {
    double sum = 0;
    for (int i = 1; i < int(p.a); ++i) {
      const double k = 2 * i - 1;
      sum += sin(6.28318530717958647693 * k * double(u) / double(p.b)) / k;
    }
    return Real(0.5 + 0.63661977236758134308 * sum);
  }
  template <class Real>
  SNN_HD static Real grad(Real u, SurrogateArgs<Real> p) {
    Real sum = Real(0);
    for (int i = 1; i < int(p.a); ++i) sum += cos_turns(Real(2 * i - 1) * u / p.b);
    return Real(4) / p.b * sum;
  }
};

struct S2NN : Learnable {  // a = alpha, b = beta
  static constexpr const char* name = "s2nn";
  template <class Real>
  SNN_HD static Real step(Real u, SurrogateArgs<Real> p) {
    const Real e = exp_decay(-absolute(p.a * u));
    const Real right = p.b * log_positive(Real(1) + maximum(u, Real(0))) + Real(0.5);
    return u < Real(0) ? e / (Real(1) + e) : right;
  }
  template <class Real>
  SNN_HD static Real grad(Real u, SurrogateArgs<Real> p) {
    const Real e = exp_decay(-absolute(p.a * u));
    const Real d = Real(1) + e;
    return u < Real(0) ? p.a * e / (d * d) : p.b / (Real(1) + absolute(u));
  }
  template <class Real>
  SNN_HD static Real grad_alpha(Real u, SurrogateArgs<Real> p) {
    return u < Real(0) ? u * grad(u, p) / p.a : Real(0);
  }
};

struct QPseudoSpike : Learnable {
  static constexpr const char* name = "q_pseudo_spike";
  template <class Real>
  SNN_HD static Real step(Real u, SurrogateArgs<Real> p) {
    const Real base = Real(1) + Real(2) * absolute(u) / (p.a - Real(1));
    const Real tail = Real(0.5) * exp_negative((Real(1) - p.a) * log_positive(base));
    return u < Real(0) ? tail : Real(1) - tail;
  }
  template <class Real>
  SNN_HD static Real grad(Real u, SurrogateArgs<Real> p) {
    const Real base = Real(1) + Real(2) * absolute(u) / (p.a - Real(1));
    return exp_negative(-p.a * log_positive(base));
  }
  template <class Real>
  SNN_HD static Real grad_alpha(Real u, SurrogateArgs<Real> p) {
    const Real z = Real(2) * absolute(u) / (p.a - Real(1)), base = Real(1) + z, l = log_positive(base);
    const Real d = Real(0.5) * exp_negative((Real(1) - p.a) * l) * (z / base - l);
    return u < Real(0) ? d : -d;
  }
};

struct LeakyKReLU : NotLearnable {  // a = leak, b = k
  static constexpr const char* name = "leaky_k_relu";
  template <class Real>
  SNN_HD static Real step(Real u, SurrogateArgs<Real> p) {
    return (u < Real(0) ? p.a : p.b) * u;
  }
  template <class Real>
  SNN_HD static Real grad(Real u, SurrogateArgs<Real> p) {
    return u < Real(0) ? p.a : p.b;
  }
};

struct FakeNumericalGradient : Learnable {
  static constexpr const char* name = "fake_numerical_gradient";
  template <class Real>
  SNN_HD static Real step(Real u, SurrogateArgs<Real> p) {
    const Real z = p.a * absolute(u);
    const Real m = z < Real(1) ? z : Real(1) + log_positive(maximum(z, Real(1)));
    return u < Real(0) ? -m : m;
  }
  template <class Real>
  SNN_HD static Real grad(Real u, SurrogateArgs<Real> p) {
    return minimum(Real(1) / absolute(u), p.a);
  }
  template <class Real>
  SNN_HD static Real grad_alpha(Real u, SurrogateArgs<Real> p) {
    return p.a * absolute(u) < Real(1) ? u : (u < Real(0) ? Real(-1) : Real(1)) / p.a;
  }
};

struct LogTailedReLU : Learnable {
  static constexpr const char* name = "log_tailed_relu";
  template <class Real>
  SNN_HD static Real step(Real u, SurrogateArgs<Real> p) {
    const Real tail = Real(1) + log_positive(maximum(u, Real(1)));
    return u > Real(0) ? (u > Real(1) ? tail : u) : p.a * u;
  }
  template <class Real>
  SNN_HD static Real grad(Real u, SurrogateArgs<Real> p) {
    return u > Real(0) ? Real(1) / maximum(u, Real(1)) : p.a;
  }
  template <class Real>
  SNN_HD static Real grad_alpha(Real u, SurrogateArgs<Real>) {
    return u > Real(0) ? Real(0) : u;
  }
};

struct Rect : OfScaled<Rect> {
  static constexpr const char* name = "rect";
  template <class Real>
  SNN_HD static Real step(Real u, SurrogateArgs<Real> p) {
    return maximum(minimum(p.a * u + Real(0.5), Real(1)), Real(0));
  }
  template <class Real>
  SNN_HD static Real grad(Real u, SurrogateArgs<Real> p) {
    return absolute(u) < Real(0.5) / p.a ? p.a : Real(0);
  }
};

struct StraightThrough : NotLearnable {
  static constexpr const char* name = "straight_through";
  template <class Real>
  SNN_HD static Real step(Real u, SurrogateArgs<Real>) {
    return u;
  }
  template <class Real>
  SNN_HD static Real grad(Real, SurrogateArgs<Real>) {
    return Real(1);
  }
};

struct MultiLevel : NotLearnable {  // a = low, b = high
  static constexpr const char* name = "multi_level";
  template <class Real>
  SNN_HD static Real step(Real u, SurrogateArgs<Real> p) {
    return maximum(p.a, minimum(u, p.b));
  }
  template <class Real>
  SNN_HD static Real grad(Real u, SurrogateArgs<Real> p) {
    return u < p.a ? Real(0) : (u > p.b ? Real(0) : Real(1));
  }
};

struct OpenMultiLevel : NotLearnable {  // a = low, b = high
  static constexpr const char* name = "open_multi_level";
  template <class Real>
  SNN_HD static Real step(Real u, SurrogateArgs<Real> p) {
    return MultiLevel::step(u, p);
  }
  template <class Real>
  SNN_HD static Real grad(Real u, SurrogateArgs<Real> p) {
    return u > p.a ? (u < p.b ? Real(1) : Real(0)) : Real(0);
  }
};

template <class... S>
struct SurrogateList {
  static constexpr int size = sizeof...(S);
};

// The list. A surrogate's number is its place here; Python reads names and numbers from the library.
using Surrogates =
    SurrogateList<Sigmoid, ATan, PiecewiseQuadratic, PiecewiseExp, SoftSign, SuperSpike, FastSigmoid, Erf,
                  NonzeroSignLogAbs, PiecewiseLeakyReLU, SquarewaveFourierSeries, S2NN, QPseudoSpike, LeakyKReLU,
                  FakeNumericalGradient, LogTailedReLU, Rect, StraightThrough, MultiLevel, OpenMultiLevel>;

}  // namespace snn
