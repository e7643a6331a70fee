// Hard, soft and no reset as one formula: v = h - spike * drop.
#pragma once

#include "core/hd.h"

namespace snn {

enum class ResetKind : int64_t { kHard = 0, kSoft = 1, kNone = 2 };

// drop = hard * h + sub:  hard reset: h - v_reset;  soft: v_threshold;  none: 0.
template <class Real>
struct Reset {
  Real hard, sub;
  Real attached;  // 0 when the reset is detached from the gradient (detach_reset), else 1

  SNN_HD static Reset make(ResetKind kind, Real v_threshold, Real v_reset, bool detach) {
    const Real attached = detach ? Real(0) : Real(1);
    switch (kind) {
      case ResetKind::kHard:
        return {Real(1), -v_reset, attached};
      case ResetKind::kSoft:
        return {Real(0), v_threshold, attached};
      default:
        return {Real(0), Real(0), attached};
    }
  }

  // Written so that a hard reset gives v_reset exactly, not h - (h - v_reset).
  SNN_HD Real after(Real h, Real spike) const { return (Real(1) - hard * spike) * h - spike * sub; }
  SNN_HD Real dv_dh(Real spike) const { return Real(1) - hard * spike; }
  // Choices, not products: 0 * inf would be NaN.
  SNN_HD Real dv_ds(Real h) const {
    const Real drop = (hard != Real(0) ? h : Real(0)) + sub;
    return attached != Real(0) ? -drop : Real(0);
  }
};

}  // namespace snn
