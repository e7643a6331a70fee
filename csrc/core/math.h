// exp, log and cos written without branches, so that a loop over lanes becomes vector code.
//
// libm's functions are calls, which no compiler vectorises without -ffast-math; and every instruction set must give
// the same bits, which a vector libm does not promise. Errors against libm (tests/ops/test_surrogate_kernels.py):
// a few units in the last place over the ranges stated at each function.
#pragma once

#include <math.h>
#include <string.h>

#include "core/hd.h"

namespace snn {

template <class Real>
struct Bits;
template <>
struct Bits<float> {
  using Int = int32_t;
  using UInt = uint32_t;
  static constexpr int mantissa = 23, bias = 127;
  static constexpr float round_magic = 12582912.0f;  // 1.5 * 2^23: adding and subtracting it rounds to an integer
  static constexpr float ln2_hi = 0.693359375f, ln2_lo = -2.12194440e-4f;
  // 1/n! from n = 7 down to 0
  static constexpr int exp_terms = 8, log_terms = 6, sin_terms = 7;
  SNN_HD static float exp_series(int n) {
    const float c[] = {1.0f / 5040, 1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
    return c[n];
  }
  static constexpr int exp2_terms = 6;
  SNN_HD static float exp2_series(int n) {
    const float c[] = {0.0013276472631950876f, 0.0096755413431213273f, 0.055507132718556442f,
                       0.24022119723710720f,   0.69314696706503521f,   1.0000000716547141f};
    return c[n];
  }
};
template <>
struct Bits<double> {
  using Int = int64_t;
  using UInt = uint64_t;
  static constexpr int mantissa = 52, bias = 1023;
  static constexpr double round_magic = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double ln2_hi = 6.93147180369123816490e-01, ln2_lo = 1.90821492927058770002e-10;
  // 1/n! from n = 13 down to 0
  static constexpr int exp_terms = 14, log_terms = 12, sin_terms = 12;
  SNN_HD static double exp_series(int n) {
    const double c[] = {
        1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040,
        1.0 / 720,        1.0 / 120,       1.0 / 24,       1.0 / 6,       0.5,          1.0,         1.0};
    return c[n];
  }
  static constexpr int exp2_terms = 12;
  SNN_HD static double exp2_series(int n) {
    const double c[] = {4.4352827069572771511e-10, 7.0741056135081427963e-09, 1.0178198021671930844e-07,
                        1.3215433089676399180e-06, 1.5252733488989925649e-05, 1.5403530462514432062e-04,
                        1.3333558146789921722e-03, 9.6181291075883352443e-03, 5.5504108664819921605e-02,
                        2.4022650695910156204e-01, 6.9314718055994533046e-01, 1.0};
    return c[n];
  }
};

template <class Real>
SNN_HD typename Bits<Real>::Int to_bits(Real x) {
  typename Bits<Real>::Int i;
  memcpy(&i, &x, sizeof(x));
  return i;
}

template <class Real>
SNN_HD Real from_bits(typename Bits<Real>::Int i) {
  Real x;
  memcpy(&x, &i, sizeof(x));
  return x;
}

SNN_HD float absolute(float x) { return fabsf(x); }
SNN_HD double absolute(double x) { return fabs(x); }

template <class Real>
SNN_HD Real minimum(Real a, Real b) {
  return a < b ? a : b;
}

template <class Real>
SNN_HD Real maximum(Real a, Real b) {
  return a > b ? a : b;
}

// e^x for x <= 0 (every surrogate needs only that side); below the smallest normal number it stays there instead
// of reaching zero. x = -inf counts as very small; NaN stays NaN.
template <class Real>
SNN_HD Real exp_negative(Real x) {
  using B = Bits<Real>;
  const Real lowest = sizeof(Real) == 4 ? Real(-87.0) : Real(-708.0);
  const Real bounded = x < lowest ? lowest : x;
  const Real shifted = bounded * Real(1.4426950408889634074) + B::round_magic;
  const Real k = shifted - B::round_magic;
  const Real r = (bounded - k * B::ln2_hi) - k * B::ln2_lo;
  Real p = B::exp_series(0);  // Horner; |r| <= ln2/2
  for (int n = 1; n < B::exp_terms; ++n) p = p * r + B::exp_series(n);
  const auto exponent = typename B::UInt(to_bits(shifted) - to_bits(B::round_magic) + B::bias);
  return p * from_bits<Real>(typename B::Int(exponent << B::mantissa));
}

// e^x for x <= 0 with two thirds of those operations and a relative error of 2 units in the last place + |x| * eps: for
// surrogates, whose value is small where |x| is large. Below the smallest normal numbers it stays there; NaN stays NaN.
// The polynomials are minimax for 2^f, |f| <= 1/2.
template <class Real>
SNN_HD Real exp_decay(Real x) {
  using B = Bits<Real>;
  const Real y = x * Real(1.4426950408889634074), lowest = sizeof(Real) == 4 ? Real(-125.0) : Real(-1021.0);
  const Real bounded = y < lowest ? lowest : y;
  const Real shifted = bounded + B::round_magic;
  const Real f = bounded - (shifted - B::round_magic);
  Real p = B::exp2_series(0);
  for (int n = 1; n < B::exp2_terms; ++n) p = p * f + B::exp2_series(n);
  const auto exponent = typename B::UInt(to_bits(shifted)) + B::bias;  // the bits of round_magic end below
  return p * from_bits<Real>(typename B::Int(exponent << B::mantissa));
}

// 1 / (1 + e^-x), from the smaller of its two forms: no overflow at either end.
template <class Real>
SNN_HD Real logistic(Real x) {
  const Real e = exp_negative(-absolute(x));
  return (x < Real(0) ? e : Real(1)) / (Real(1) + e);
}

// e^x for any x: infinity where it is too large for a Real, 0 from about the smallest normal number down.
template <class Real>
SNN_HD Real exp_any(Real x) {
  using B = Bits<Real>;
  const Real lowest = sizeof(Real) == 4 ? Real(-86.9) : Real(-708.0);
  const Real highest = sizeof(Real) == 4 ? Real(89.0) : Real(710.0);
  const Real above = x < lowest ? lowest : x;
  const Real bounded = above > highest ? highest : above;
  const Real shifted = bounded * Real(1.4426950408889634074) + B::round_magic;
  const Real k = shifted - B::round_magic;
  const Real r = (bounded - k * B::ln2_hi) - k * B::ln2_lo;
  Real p = B::exp_series(0);
  for (int n = 1; n < B::exp_terms; ++n) p = p * r + B::exp_series(n);
  // 2^k as 2 * 2^(k - 1): the largest finite results have a k whose own power of two is infinite.
  const auto exponent = typename B::UInt(to_bits(shifted) - to_bits(B::round_magic) + B::bias - 1);
  const Real result = (p + p) * from_bits<Real>(typename B::Int(exponent << B::mantissa));
  return x < lowest ? Real(0) : result;
}

// ln(x) for normal x > 0 (inf and NaN give themselves), by x = m * 2^e with m around 1 and ln(m) = 2 artanh((m - 1)/(m
// + 1)).
template <class Real>
SNN_HD Real log_positive(Real x) {
  using B = Bits<Real>;
  using Int = typename B::Int;
  const Int sqrt_half = to_bits(Real(0.70710678118654752440));
  using UInt = typename B::UInt;  // wraps where x is no positive number and the result has no meaning anyway
  const Int exponent = Int(UInt(to_bits(x)) - UInt(sqrt_half)) >> B::mantissa;
  const Real m = from_bits<Real>(Int(UInt(to_bits(x)) - (UInt(exponent) << B::mantissa)));
  // The exponent as a number, by way of round_magic's mantissa: 64-bit integers have no vector conversion before
  // AVX-512.
  const Real e = from_bits<Real>(to_bits(B::round_magic) + exponent) - B::round_magic;
  const Real s = (m - Real(1)) / (m + Real(1));
  const Real s2 = s * s;
  Real p = Real(0);
  for (int n = B::log_terms - 1; n > 0; --n) p = (p + Real(1) / Real(2 * n + 1)) * s2;
  const Real result = e * B::ln2_hi + (e * B::ln2_lo + Real(2) * (s + s * p));
  return x < Real(HUGE_VAL) ? result : x;
}

// cos(2 pi y): the argument in turns, so that the reduction to one turn is exact.
// Beyond the numbers that still have a fraction the result is 1.
template <class Real>
SNN_HD Real cos_turns(Real y) {
  using B = Bits<Real>;
  const Real limit = B::round_magic / Real(4);
  const Real bounded = absolute(y) < limit ? y : Real(0);
  const Real r = bounded - ((bounded + B::round_magic) - B::round_magic);
  const Real z = r * Real(3.14159265358979323846);  // cos(2 pi r) = 1 - 2 sin^2(pi r), |pi r| <= pi/2
  const Real z2 = z * z;
  Real p = Real(1);
  for (int n = B::sin_terms - 1; n > 0; --n) p = Real(1) - p * z2 * (Real(1) / Real((2 * n) * (2 * n + 1)));
  const Real sine = z * p;
  return Real(1) - Real(2) * sine * sine;
}

}  // namespace snn
