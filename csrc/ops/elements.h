// Where element types end: kernels see rows of float or double, so that they are compiled for those two alone.
//
// In an anonymous namespace: every instruction set compiles its own copy, and none may be shared (neuron_kernels.cpp).
#pragma once

#include "core/codec.h"
#include "ops/neuron_args.h"

// Called once per strip: one copy costs nothing, and inlined into every kernel they were most of the code.
#define SNN_ROW_FUNCTION static __attribute__((noinline))

namespace snn {
namespace {

template <class Scalar>
SNN_ROW_FUNCTION void decode_to(const void* from, float* to, int n) {
  decode_row(static_cast<const Scalar*>(from), to, n);
}
template <class Scalar>
SNN_ROW_FUNCTION void encode_to(const float* from, void* to, int n) {
  encode_row(from, static_cast<Scalar*>(to), n);
}

// How elements become Real and back; no functions where they already are.
template <class Real>
struct Elements {
  int64_t bytes;
  void (*decode)(const void*, Real*, int);
  void (*encode)(const Real*, void*, int);

  static Elements plain() { return {sizeof(Real), nullptr, nullptr}; }
  static Elements of(DType dtype) {
    if constexpr (sizeof(Real) == 4) {
      if (dtype == DType::kBFloat16) return {2, decode_to<BFloat16>, encode_to<BFloat16>};
      if (dtype == DType::kHalf) return {2, decode_to<Half>, encode_to<Half>};
    }
    return plain();
  }
};

}  // namespace
}  // namespace snn
