// Integrate and fire: h = v + x.
#pragma once

#include "core/stages.h"

namespace snn {

struct IntegrateFire : Stages<0> {
  static constexpr const char* name = "if";
  static constexpr int states = 1, constants = 0;
  static constexpr bool linear = true;

  template <class Real>
  SNN_HD static void charge(Real* v, Real x, const Real*, const Real*) {
    v[0] = v[0] + x;
  }

  template <class Real>
  SNN_HD static Real charge_vjp(const Real*, Real, const Real*, const Real*, Real* g, Real*) {
    return g[0];
  }
};

}  // namespace snn
