// Integrate and fire: h = v + x.
#pragma once

#include "core/hd.h"

namespace snn {

struct IntegrateFire {
  static constexpr const char* name = "if";
  static constexpr int states = 1, params = 0, constants = 0;
  static constexpr bool linear = true;

  template <class Real>
  SNN_HD static void charge(Real* v, Real x, const Real*, const Real*) {
    v[0] = v[0] + x;
  }

  template <class Real>
  SNN_HD static Real charge_vjp(const Real*, Real, const Real*, const Real*, Real* g) {
    return g[0];
  }

  template <class Real>
  SNN_HD static void params_vjp(const Real*, Real, const Real*, const Real*, const Real*, Real*) {}
};

}  // namespace snn
