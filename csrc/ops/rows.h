// Tensors as rows of lanes, for one copy of the CPU kernels: scratch rows, rows read, rows written.
//
// In an anonymous namespace: every instruction set compiles its own copy, and none may be shared (neuron_kernels.cpp).
#pragma once

#include "core/codec.h"
#include "core/time_loop.h"

namespace snn {
namespace {

// Hands out rows of scratch memory, 64 bytes further apart than their length so that rows do not share cache sets.
template <class Real>
struct Scratch {
  Real* next;
  int64_t stride;
  Rows<Real> rows(int64_t k) {
    const Rows<Real> r{next, stride};
    next += k * stride;
    return r;
  }
  Real* row() { return rows(1).data; }
};

// A tensor [T, N] read row by row; the same memory where no conversion is needed.
template <class Scalar, class Real>
struct Reader {
  const Scalar* base;
  int64_t stride;
  Real* buffer;

  const Real* row(int64_t t, int64_t lane, int n) const {
    const Scalar* at = base + t * stride + lane;
    if constexpr (sizeof(Scalar) == sizeof(Real)) {
      return at;
    } else {
      decode_row(at, buffer, n);
      return buffer;
    }
  }
  // Asks for a row that is read next: rows of one tile lie far apart, where no hardware prefetcher looks.
  void prefetch(int64_t t, int64_t lane, int n) const {
    prefetch_bytes(base + t * stride + lane, n * int64_t(sizeof(Scalar)));
  }
};

// A tensor [T, N] written row by row, past the caches if `stream`.
template <class Scalar, class Real>
struct Writer {
  Scalar* base;
  int64_t stride;
  bool stream;
  Real* buffer;
  Scalar* encoded;  // where a half row waits to be streamed

  Real* row(int64_t t, int64_t lane) const {
    if constexpr (sizeof(Scalar) == sizeof(Real)) {
      if (!stream) return base + t * stride + lane;
    }
    return buffer;
  }
  void put(int64_t t, int64_t lane, int n) const {
    Scalar* at = base + t * stride + lane;
    const Scalar* row = encoded;
    if constexpr (sizeof(Scalar) == sizeof(Real)) {
      row = buffer;
    } else {
      encode_row(buffer, stream ? encoded : at, n);
    }
    if (stream) stream_bytes(row, at, n * int64_t(sizeof(Scalar)));
  }
};

}  // namespace
}  // namespace snn
