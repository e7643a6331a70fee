// Hard, soft and no reset as one formula: v = h - spike * drop.
#pragma once

#include "core/hd.h"

namespace snn {

enum class ResetKind : int64_t { kHard = 0, kSoft = 1, kNone = 2 };

// Only float64 may fire smoothly (gradient checks); elsewhere a spike is whole.
template <class Real>
constexpr bool kHasSmooth = sizeof(Real) == 8;

// drop = hard * h + sub:  hard reset: h - v_reset;  soft: v_threshold;  none: 0.
template <class Real>
struct Reset {
  Real hard, keep;  // keep = 1 - hard
  Real soft, fixed;
  Real attached;  // 0 when the reset is detached from the gradient (detach_reset). A bool would cost the vector code.

  SNN_HD static Reset make(ResetKind kind, Real v_reset, bool detach) {
    const Real hard = kind == ResetKind::kHard ? Real(1) : Real(0);
    const Real soft = kind == ResetKind::kSoft ? Real(1) : Real(0);
    return {hard, Real(1) - hard, soft, kind == ResetKind::kHard ? -v_reset : Real(0), detach ? Real(0) : Real(1)};
  }

  SNN_HD Real sub(Real v_threshold) const { return soft * v_threshold + fixed; }

  // Written so that a hard reset gives v_reset exactly, not h - (h - v_reset). Where spikes are whole, a choice gives
  // the same bits with fewer operations.
  SNN_HD Real after(Real h, Real spike, Real v_threshold) const {
    if (kHasSmooth<Real>) return (Real(1) - hard * spike) * h - spike * sub(v_threshold);
    const Real reset = keep * h - sub(v_threshold);
    return spike != Real(0) ? reset : h;
  }

  // What reaches the spike by way of the reset.
  SNN_HD Real through(Real g) const { return attached != Real(0) ? g : Real(0); }
  // The same by way of v = h - spike * drop; nothing where v has no gradient, whatever h is: 0 * inf would be NaN.
  SNN_HD Real to_spike(Real g_v, Real h, Real v_threshold) const {
    return g_v * attached != Real(0) ? g_v * dv_ds(h, v_threshold) : Real(0);
  }
  SNN_HD Real dv_dh(Real spike) const { return Real(1) - hard * spike; }
  // A choice, not a product: 0 * inf would be NaN.
  SNN_HD Real dv_ds(Real h, Real v_threshold) const { return -((hard != Real(0) ? h : Real(0)) + sub(v_threshold)); }
  SNN_HD Real dv_dthreshold(Real spike) const { return -soft * spike; }
};

}  // namespace snn
