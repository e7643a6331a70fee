// Counting the elements of a row that are not zero, while it lies in the nearest cache.
//
// In an anonymous namespace: every instruction set compiles its own copy, and none may be shared (neuron_kernels.cpp).
#pragma once

#include "core/codec.h"

namespace snn {
namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

// uint16_t stands for both half types, whose sign is the highest bit.
template <class Element>
struct CountOf;
template <>
struct CountOf<float> {
  using Int = int32_t;
};
template <>
struct CountOf<double> {
  using Int = int64_t;
};
template <>
struct CountOf<uint16_t> {
  using Int = int16_t;
};
static inline bool nonzero(float x) { return x != 0; }
static inline bool nonzero(double x) { return x != 0; }
static inline bool nonzero(uint16_t x) { return (x & 0x7fff) != 0; }

// A sum of non-zero elements, kept in a vector of integers as wide as an element: below 2^15 of them per take().
template <class Element>
struct Tally {
  using Int = typename CountOf<Element>::Int;
  static constexpr int width = kVectorBytes / int(sizeof(Element));
  typedef Element Vector __attribute__((vector_size(kVectorBytes)));
  typedef Int Counts __attribute__((vector_size(kVectorBytes)));

  alignas(kVectorBytes) Int counts[width] = {};
  int64_t rest = 0;
  bool used = false;  // `counts`

  // Adds n elements, as many as are known beforehand: whole vectors.
  template <int n>
  SNN_HD void add_whole(const Element* from) {
    static_assert(n % width == 0, "whole vectors");
    Counts sum = {};
#pragma GCC unroll 16
    for (int i = 0; i < n; i += width) sum -= nonzeros(from + i);
    keep(sum);
  }

  SNN_HD void add(const Element* from, int n) {
    int i = 0;
    if (n >= width) {
      Counts sum = {};
      for (; i + width <= n; i += width) sum -= nonzeros(from + i);
      keep(sum);
    }
    for (; i < n; ++i) rest += nonzero(from[i]);
  }

  SNN_HD int64_t take() {
    int64_t sum = rest;
    rest = 0;
    if (!used) return sum;  // samples of a few lanes see no vector
    for (int k = 0; k < width; ++k) sum += counts[k];
    memset(counts, 0, sizeof(counts));
    used = false;
    return sum;
  }

 private:
  static SNN_HD Counts nonzeros(const Element* from) {  // -1 where there is one
    Vector x;
    memcpy(&x, from, kVectorBytes);
    if constexpr (sizeof(Element) == 2) return Counts((x & 0x7fff) != 0);
    return Counts(x != 0);
  }

  SNN_HD void keep(Counts sum) {
    Counts before;
    memcpy(&before, counts, kVectorBytes);
    before += sum;
    memcpy(counts, &before, kVectorBytes);
    used = true;
  }
};

}  // namespace
}  // namespace snn
