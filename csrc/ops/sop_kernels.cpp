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
  int32_t nnz, fan, eff, flags;
};

// fan and eff may be null.
template <class Real>
BlockSums count_block(const Real* x, const int32_t* fan, const int32_t* eff, int n) {
  int32_t nnz = 0, fans = 0, effs = 0, flags = 0;
#pragma omp simd reduction(+ : nnz) reduction(| : flags)
  for (int i = 0; i < n; ++i) {
    const Real a = absolute(x[i]);
    nnz += x[i] != Real(0) ? 1 : 0;
    flags |= (x[i] < Real(0) ? kNegative : 0) | (a > Real(1) ? kAboveOne : 0) | (is_whole(a) ? 0 : kFraction);
  }
  if (fan) {
#pragma omp simd reduction(+ : fans)
    for (int i = 0; i < n; ++i) fans += fan[i] & -int32_t(x[i] != Real(0));  // no branch around the load
  }
  if (eff) {
#pragma omp simd reduction(+ : effs)
    for (int i = 0; i < n; ++i) effs += eff[i] & -int32_t(x[i] != Real(0));
  }
  return {nnz, fans, effs, flags};
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
  const BlockSums sums = count_block(x, fan, eff, n);
  c.nnz += sums.nnz;
  c.fan += sums.fan;
  c.eff += sums.eff;
  c.flags |= sums.flags;
  if (sums.flags & kFraction) return;
  if (sums.flags & kAboveOne) return sum_block(x, fan, n, c);
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
