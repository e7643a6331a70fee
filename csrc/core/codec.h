// Rows of tensor elements to rows of Real and back. Half types hold 16 bits; arithmetic is always float or double.
#pragma once

#include "core/math.h"

#if defined(__SSE2__) && !defined(__CUDACC__)
#include <immintrin.h>
#endif

namespace snn {

struct BFloat16 {
  uint16_t bits;
};
struct Half {
  uint16_t bits;
};

template <class Scalar>
struct RealOf {
  using type = Scalar;
};
template <>
struct RealOf<BFloat16> {
  using type = float;
};
template <>
struct RealOf<Half> {
  using type = float;
};

SNN_HD float decode(float x) { return x; }
SNN_HD double decode(double x) { return x; }
SNN_HD float encode(float x, float*) { return x; }
SNN_HD double encode(double x, double*) { return x; }

SNN_HD float decode(BFloat16 x) { return from_bits<float>(int32_t(uint32_t(x.bits) << 16)); }

// Round to nearest even; NaN stays NaN.
SNN_HD BFloat16 encode(float x, BFloat16*) {
  const uint32_t b = uint32_t(to_bits(x));
  const uint32_t rounded = (b + 0x7fffu + ((b >> 16) & 1u)) >> 16;
  return {uint16_t((b & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded)};
}

// Branch-free integer conversions: exact, and vector code without F16C.
SNN_HD float decode(Half x) {
  const uint32_t sign = uint32_t(x.bits & 0x8000u) << 16;
  const uint32_t magnitude = x.bits & 0x7fffu;
  // 2^112 moves the exponent of a half to its place in a float; it also normalises half's subnormals.
  const float scaled = from_bits<float>(int32_t(magnitude << 13)) * 5.192296858534828e33f;
  const uint32_t special = magnitude >= 0x7c00u ? 0x7f800000u : 0u;
  return from_bits<float>(int32_t(uint32_t(to_bits(scaled)) | special | sign));
}

SNN_HD Half encode(float x, Half*) {
  const uint32_t b = uint32_t(to_bits(x));
  const uint32_t sign = (b >> 16) & 0x8000u;
  const uint32_t magnitude = b & 0x7fffffffu;
  const uint32_t odd = (magnitude >> 13) & 1u;
  const uint32_t normal = (magnitude + 0xc8000fffu + odd) >> 13;      // re-biased by -112, rounded to nearest even
  const float shifted = from_bits<float>(int32_t(magnitude)) + 0.5f;  // below 2^-14 this addition rounds for us
  const uint32_t subnormal = uint32_t(to_bits(shifted)) - 0x3f000000u;
  uint32_t h = magnitude < 0x38800000u ? subnormal : normal;
  h = magnitude >= 0x477ff000u ? 0x7c00u : h;
  h = magnitude > 0x7f800000u ? 0x7e00u : h;
  return {uint16_t(sign | h)};
}

#if !defined(__CUDACC__)

template <class Scalar>
static void decode_row(const Scalar* from, float* to, int n) {
  for (int i = 0; i < n; ++i) to[i] = decode(from[i]);
}

template <class Scalar>
static void encode_row(const float* from, Scalar* to, int n) {
  for (int i = 0; i < n; ++i) to[i] = encode(from[i], static_cast<Scalar*>(nullptr));
}

#if defined(__F16C__)
// The two instructions GCC does not find by itself.
template <>
void decode_row<Half>(const Half* from, float* to, int n) {
  int i = 0;
  for (; i + 8 <= n; i += 8)
    _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i))));
  for (; i < n; ++i) to[i] = decode(from[i]);
}

template <>
void encode_row<Half>(const float* from, Half* to, int n) {
  int i = 0;
  for (; i + 8 <= n; i += 8)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), _mm256_cvtps_ph(_mm256_loadu_ps(from + i), 0));
  for (; i < n; ++i) to[i] = encode(from[i], static_cast<Half*>(nullptr));
}
#endif

// Copies a row past the caches. For outputs so large that nobody finds them there again it spares the caches and one
// of three transfers (a plain store first reads the line it overwrites). Callers fence once with stream_fence().
static inline void stream_bytes(const void* from, void* to, int64_t bytes) {
  const char* source = static_cast<const char*>(from);
  char* target = static_cast<char*>(to);
  int64_t done = 0;
#if defined(__SSE2__)
  const int64_t head = minimum(bytes, int64_t(-reinterpret_cast<intptr_t>(target) & 63));
  memcpy(target, source, size_t(head));
  for (done = head; done + 64 <= bytes; done += 64) {
#if defined(__AVX512F__)
    _mm512_stream_si512(reinterpret_cast<__m512i*>(target + done), _mm512_loadu_si512(source + done));
#elif defined(__AVX__)
    for (int part = 0; part < 64; part += 32)
      _mm256_stream_si256(reinterpret_cast<__m256i*>(target + done + part),
                          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(source + done + part)));
#else
    for (int part = 0; part < 64; part += 16)
      _mm_stream_si128(reinterpret_cast<__m128i*>(target + done + part),
                       _mm_loadu_si128(reinterpret_cast<const __m128i*>(source + done + part)));
#endif
  }
#endif
  memcpy(target + done, source + done, size_t(bytes - done));
}

static inline void stream_fence() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

static inline void prefetch_bytes(const void* from, int64_t bytes) {
  const char* at = static_cast<const char*>(from);
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(at + i, 0, 2);
}

#endif  // host rows

}  // namespace snn
