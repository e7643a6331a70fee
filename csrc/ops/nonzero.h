// Counting the elements of a row that are not zero, also on the way past the caches, where it hides behind the memory.
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

static inline void stream_vector(const char* from, char* to) {
#if defined(__AVX512F__)
  _mm512_stream_si512(reinterpret_cast<__m512i*>(to), _mm512_loadu_si512(from));
#elif defined(__AVX__)
  _mm256_stream_si256(reinterpret_cast<__m256i*>(to), _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
#elif defined(__SSE2__)
  _mm_stream_si128(reinterpret_cast<__m128i*>(to), _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
#else
  memcpy(to, from, kVectorBytes);
#endif
}

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

  // Adds n elements, and copies them to `to` past the caches if kStream.
  template <bool kStream>
  SNN_HD void add(const Element* from, Element* to, int n) {
    int i = 0;
    if constexpr (kStream) {
      const int64_t bytes = -reinterpret_cast<intptr_t>(to) & (kVectorBytes - 1);
      for (const int head = minimum(n, int(bytes / int64_t(sizeof(Element)))); i < head; ++i) one<kStream>(from, to, i);
    }
    if (n - i >= width) i = whole_vectors<kStream>(from, to, i, n);
    for (; i < n; ++i) one<kStream>(from, to, i);
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
  template <bool kStream>
  SNN_HD void one(const Element* from, Element* to, int i) {
    if constexpr (kStream) to[i] = from[i];
    rest += nonzero(from[i]);
  }

  // As many as there are from i on; returns where it ends.
  template <bool kStream>
  SNN_HD int whole_vectors(const Element* from, Element* to, int i, int n) {
    Counts sum;
    memcpy(&sum, counts, kVectorBytes);
#pragma GCC unroll 4
    for (; i + width <= n; i += width) {
      Vector x;
      memcpy(&x, from + i, kVectorBytes);
      if constexpr (sizeof(Element) == 2) {
        sum -= Counts((x & 0x7fff) != 0);
      } else {
        sum -= Counts(x != 0);
      }
      if constexpr (kStream) stream_vector(reinterpret_cast<const char*>(from + i), reinterpret_cast<char*>(to + i));
    }
    memcpy(counts, &sum, kVectorBytes);
    used = true;
    return i;
  }
};

}  // namespace
}  // namespace snn
