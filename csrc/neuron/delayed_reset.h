// The reset of the step before, folded into this step's charge to u: r = (v >= v_threshold), which carries no gradient.
//   subtract: h = u - r * v_threshold,  zero: h = (1 - r) * u.
// c[0]: zero, c[1]: subtract, at most one of them 1. With both 0 the reset is the time loop's own.
#pragma once

#include "core/hd.h"

namespace snn {

template <class Real>
struct DelayedReset {
  Real zero, subtract;  // 0 or 1: what happens to this lane in this step

  SNN_HD static DelayedReset of(Real v, Real v_threshold, const Real* c) {
    return {v >= v_threshold ? c[0] : Real(0), v >= v_threshold ? c[1] : Real(0)};
  }
  SNN_HD Real after(Real u, Real v_threshold) const { return (zero != Real(0) ? Real(0) : u) - subtract * v_threshold; }
  // dL/du from dL/dh, and dL/dv_threshold.
  SNN_HD Real du(Real g) const { return zero != Real(0) ? Real(0) : g; }
  SNN_HD Real dv_threshold(Real g) const { return -(g * subtract); }
};

}  // namespace snn
