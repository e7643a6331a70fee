// The surrogate of a call on the device: a number, looked up by a function that all kernels share. The branch is the
// same for all threads.
#pragma once

#include "core/surrogate.h"
#include "ops/cuda/lanes.h"

namespace snn {

template <class Real>
struct alignas(16) Pack {
  Real value[kThreadLanes<Real>];
};

template <class Real, class... S, class F>
SNN_DEVICE Pack<Real> pick_surrogate(SurrogateList<S...>, int which, const F& f) {
  Pack<Real> result{};
  const auto apply = [&](auto s) {
    SNN_LANES
    for (int i = 0; i < kThreadLanes<Real>; ++i) result.value[i] = f(s, i);
  };
  int k = 0;
  ((k++ == which ? apply(S{}) : void()), ...);
  return result;
}

template <class Real>
SNN_DEVICE_CALL Pack<Real> surrogate_grad(int which, Pack<Real> u, Pack<Real> a, Real b) {
  return pick_surrogate<Real>(Surrogates{}, which, [&](auto s, int i) {
    return decltype(s)::grad(u.value[i], SurrogateArgs<Real>{a.value[i], b});
  });
}
template <class Real>
SNN_DEVICE_CALL Pack<Real> surrogate_grad_alpha(int which, Pack<Real> u, Pack<Real> a, Real b) {
  return pick_surrogate<Real>(Surrogates{}, which, [&](auto s, int i) {
    return decltype(s)::grad_alpha(u.value[i], SurrogateArgs<Real>{a.value[i], b});
  });
}
template <class Real>
SNN_DEVICE_CALL Pack<Real> surrogate_step(int which, Pack<Real> u, Pack<Real> a, Real b) {
  return pick_surrogate<Real>(Surrogates{}, which, [&](auto s, int i) {
    return decltype(s)::step(u.value[i], SurrogateArgs<Real>{a.value[i], b});
  });
}

// The `Surrogate` of core/time_loop.h over the lanes of one thread.
template <class Real>
struct DeviceSurrogate {
  int which;
  SurrogateArgs<Real> args;

  SNN_DEVICE void step(const Real* u, const Real* a, Real* out, int) const {
    give(surrogate_step<Real>(which, take(u), alpha(a), args.b), out);
  }
  SNN_DEVICE void grad(const Real* h, Real v_threshold, Real* out, int) const {
    Pack<Real> u = take(h);
    SNN_LANES
    for (int i = 0; i < kThreadLanes<Real>; ++i) u.value[i] = u.value[i] - v_threshold;
    give(surrogate_grad<Real>(which, u, alpha(nullptr), args.b), out);
  }
  SNN_DEVICE void grad(const Real* u, const Real* a, Real* out, int) const {
    give(surrogate_grad<Real>(which, take(u), alpha(a), args.b), out);
  }
  SNN_DEVICE void grad_alpha(const Real* u, const Real* a, Real* out, int) const {
    give(surrogate_grad_alpha<Real>(which, take(u), alpha(a), args.b), out);
  }

 private:
  SNN_DEVICE static Pack<Real> take(const Real* row) {
    Pack<Real> pack;
    SNN_LANES
    for (int i = 0; i < kThreadLanes<Real>; ++i) pack.value[i] = row[i];
    return pack;
  }
  SNN_DEVICE static void give(const Pack<Real>& pack, Real* row) {
    SNN_LANES
    for (int i = 0; i < kThreadLanes<Real>; ++i) row[i] = pack.value[i];
  }
  SNN_DEVICE Pack<Real> alpha(const Real* a) const {
    Pack<Real> pack;
    SNN_LANES
    for (int i = 0; i < kThreadLanes<Real>; ++i) pack.value[i] = a ? a[i] : args.a;
    return pack;
  }
};

}  // namespace snn
