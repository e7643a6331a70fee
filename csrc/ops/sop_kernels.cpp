// CPU kernels of the spike counters, compiled once per instruction set (see neuron_kernels.cpp for what that forbids).
#include "core/count.h"
#include "ops/elements.h"
#include "ops/isa.h"

#define SNN_CONCAT_(a, b) a##b
#define SNN_CONCAT(a, b) SNN_CONCAT_(a, b)

namespace snn {
namespace {

constexpr int kBlock = 2048;

// Sums of one block, short enough for 32 bits.
struct BlockSums {
  int32_t nnz, ones, fan, eff;
};

// One pass, since x often comes from beyond the caches. kMaps: of fan, eff, how many are there.
template <int kMaps, class Real>
BlockSums sum_nonzero(const Real* x, const int32_t* fan, const int32_t* eff, int n) {
  int32_t nnz = 0, ones = 0, fans = 0, effs = 0;
#pragma omp simd reduction(+ : nnz, ones, fans, effs)
  for (int i = 0; i < n; ++i) {
    const int32_t there = -int32_t(x[i] != Real(0));  // all bits or none: no branch around the loads
    nnz -= there;
    ones += x[i] == Real(1) ? 1 : 0;
    if constexpr (kMaps > 0) fans += fan[i] & there;
    if constexpr (kMaps > 1) effs += eff[i] & there;
  }
  return {nnz, ones, fans, effs};
}

template <class Real>
BlockSums sum_nonzero(const Real* x, const int32_t* fan, const int32_t* eff, int n) {
  if (eff) return sum_nonzero<2>(x, fan, eff, n);
  return fan ? sum_nonzero<1>(x, fan, eff, n) : sum_nonzero<0>(x, fan, eff, n);
}

template <class Real>
int32_t value_flags(const Real* x, int n) {
  int32_t flags = 0;
#pragma omp simd reduction(| : flags)
  for (int i = 0; i < n; ++i) {
    const Real a = absolute(x[i]);
    flags |= (x[i] < Real(0) ? kNegative : 0) | (a > Real(1) ? kAboveOne : 0) | (is_whole(a) ? 0 : kFraction);
  }
  return flags;
}

// The sums of |x| of a block of integers.
template <class Real>
void sum_block(const Real* x, const int32_t* fan, int n, Counts& c) {
  int64_t sum = 0, fans = 0;
  for (int i = 0; i < n; ++i) {
    const int64_t a = int64_t(absolute(x[i]));
    sum += a;
    fans += fan ? a * fan[i] : 0;
  }
  c.sum_abs += sum;
  c.fan_abs += fans;
}

template <class Real>
void add_block(const Real* x, const int32_t* fan, const int32_t* eff, int n, Counts& c) {
  const BlockSums sums = sum_nonzero(x, fan, eff, n);
  const int32_t flags = sums.ones == sums.nnz ? 0 : value_flags(x, n);
  c.nnz += sums.nnz;
  c.fan += sums.fan;
  c.eff += sums.eff;
  c.flags |= flags;
  if (flags & kFraction) return;
  if (flags & kAboveOne) return sum_block(x, fan, n, c);
  c.sum_abs += sums.nnz;  // ones and minus ones
  c.fan_abs += sums.fan;
}

template <class Real>
void count_rows(const CountArgs& a, int64_t begin, int64_t end) {
  const auto elements = Elements<Real>::of(a.dtype);
  alignas(64) Real buffer[kBlock];
  const int64_t period = a.period;
  for (int64_t row = begin; row < end; ++row) {
    Counts c{};
    const char* from = static_cast<const char*>(a.x) + row * a.lanes * elements.bytes;
    for (int64_t first = 0; first < a.lanes; first += period) {
      for (int64_t i = 0; i < period; i += a.block) {
        const int n = int(minimum(int64_t(a.block), period - i));
        const char* at = from + (first + i) * elements.bytes;
        if (elements.decode) elements.decode(at, buffer, n);
        const Real* x = elements.decode ? buffer : reinterpret_cast<const Real*>(at);
        add_block(x, a.fan ? a.fan + i : nullptr, a.eff ? a.eff + i : nullptr, n, c);
      }
    }
    if (c.flags & kFraction) c.sum_abs = c.fan_abs = 0;
    const int64_t columns[] = {c.nnz, c.sum_abs, c.fan, c.fan_abs, c.eff, c.flags};
    for (int k = 0; k < Counts::kColumns; ++k) a.out[row * Counts::kColumns + k] = columns[k];
  }
}

// Non-zero elements of each column of [rows, columns], added to `out`.
template <class Real>
void count_columns(const void* data, DType dtype, int64_t rows, int64_t columns, int32_t* out) {
  const auto elements = Elements<Real>::of(dtype);
  alignas(64) Real buffer[kBlock];
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < columns; i += kBlock) {
      const int n = int(minimum(int64_t(kBlock), columns - i));
      const char* at = static_cast<const char*>(data) + (r * columns + i) * elements.bytes;
      if (elements.decode) elements.decode(at, buffer, n);
      const Real* x = elements.decode ? buffer : reinterpret_cast<const Real*>(at);
      int32_t* to = out + i;
#pragma omp simd
      for (int k = 0; k < n; ++k) to[k] += x[k] != Real(0) ? 1 : 0;
    }
  }
}

constexpr CountKernels kKernels = {{count_rows<float>, count_rows<double>},
                                   {count_columns<float>, count_columns<double>}};

}  // namespace

const CountKernels* SNN_CONCAT(count_kernels_, SNN_ISA)() { return &kKernels; }

}  // namespace snn
