// Hard, soft and no reset as one formula: v = h - spike * drop.
#pragma once

#include "core/hd.h"

namespace snn {

enum class ResetKind : int64_t { kHard = 0, kSoft = 1, kNone = 2 };

// drop = hard * h + sub:  hard reset: h - v_reset;  soft: v_threshold;  none: 0.
template <class Real>
struct Reset {
  Real hard, keep, sub;              // keep = 1 - hard
  Real attached_hard, attached_sub;  // the same, or 0 when the reset is detached from the gradient (detach_reset)

  SNN_HD static Reset make(ResetKind kind, Real v_threshold, Real v_reset, bool detach) {
    const Real hard = kind == ResetKind::kHard ? Real(1) : Real(0);
    const Real sub = kind == ResetKind::kHard ? -v_reset : kind == ResetKind::kSoft ? v_threshold : Real(0);
    return {hard, Real(1) - hard, sub, detach ? Real(0) : hard, detach ? Real(0) : sub};
  }

  // Written so that a hard reset gives v_reset exactly, not h - (h - v_reset).
  SNN_HD Real after(Real h, Real spike) const { return (Real(1) - hard * spike) * h - spike * sub; }
  SNN_HD Real dv_dh(Real spike) const { return Real(1) - hard * spike; }

  // The same for a whole spike or none: fewer operations, same bits.
  SNN_HD Real after(Real h, bool fired) const {
    const Real reset = keep * h - sub;
    return fired ? reset : h;
  }

  // A choice, not a product: 0 * inf would be NaN.
  SNN_HD Real dv_ds(Real h) const { return -((attached_hard != Real(0) ? h : Real(0)) + attached_sub); }
};

}  // namespace snn
