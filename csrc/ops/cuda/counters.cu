// Kernels of the counting ops: integers add up to the same number in any order, so blocks add to memory as they end.
#include "ops/cuda/counters.h"

#include "ops/cuda/lanes.h"

namespace snn {

namespace {

constexpr int kThreads = 128;
constexpr int64_t kBlockBytes = 32 << 10;  // of a row, for one block
constexpr int kMostSums = Counts::kColumns;

SNN_DEVICE float real(float x) { return x; }
SNN_DEVICE double real(double x) { return x; }
SNN_DEVICE float real(BFloat16 x) { return decode(x); }
SNN_DEVICE float real(Half x) { return decode_half(x.bits); }

SNN_DEVICE int64_t* shared_sums() { return reinterpret_cast<int64_t*>(shared_memory()); }

// Sums over the block, for thread 0: sums[k]. All threads come here; the last `flags` of them are or-ed.
template <int count, int flags>
SNN_DEVICE void block_sums(int64_t* sums) {
  int64_t* shared = shared_sums();
  __syncthreads();
  for (int k = 0; k < count; ++k) shared[k * kThreads + threadIdx.x] = sums[k];
  for (unsigned half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x >= half) continue;
    for (int k = 0; k < count; ++k) {
      int64_t* mine = shared + k * kThreads + threadIdx.x;
      mine[0] = k < count - flags ? mine[0] + mine[half] : mine[0] | mine[half];
    }
  }
  for (int k = 0; k < count; ++k) sums[k] = shared[k * kThreads];
}

// The sums of one thread, in the order of the columns.
struct Sums {
  int64_t column[Counts::kColumns];

  template <class Real>
  SNN_DEVICE void add(Real x, int64_t fan, int64_t eff) {
    const Real size = absolute(x);
    const int64_t is = x != Real(0);
    const bool whole = is_whole(size);
    const int64_t value = whole ? int64_t(size) : 0;
    column[0] += is;
    column[1] += value;
    column[2] += is * fan;
    column[3] += value * fan;
    column[4] += is * eff;
    column[5] |= (x < Real(0) ? kNegative : 0) | (size > Real(1) ? kAboveOne : 0) | (whole ? 0 : kFraction);
  }
};

// Elements of a row from `lane` on, with their place in the maps.
template <class Element>
struct RowPart {
  const Element* x;
  const int32_t *fan, *eff;
  int64_t period, at;

  SNN_DEVICE RowPart(const CountArgs& a, const Element* row, int64_t lane)
      : x(row + lane), fan(a.fan), eff(a.eff), period(a.period), at(0) {
    if (fan) at = a.lanes >> 31 ? lane % period : int64_t(uint32_t(lane) % uint32_t(period));
  }
  SNN_DEVICE void add(Element element, Sums& sums) {
    sums.add(real(element), fan ? fan[at] : 0, eff ? eff[at] : 0);
    if (fan && ++at == period) at = 0;
  }
};

// A block takes one part of one row after another: single elements up to an address that 16 divides, then 16 bytes a
// thread, then the rest.
template <class Element>
__global__ void __launch_bounds__(kThreads) rows_kernel(const CountArgs a, int64_t rows, int64_t part, int64_t parts) {
  constexpr int width = 16 / int(sizeof(Element));
  for (int64_t k = blockIdx.x; k < rows * parts; k += gridDim.x) {
    const int64_t row = k / parts, first = (k - row * parts) * part, last = minimum(a.lanes, first + part);
    const Element* x = static_cast<const Element*>(a.x) + row * a.lanes;
    const auto address = reinterpret_cast<uintptr_t>(x + first);
    const int64_t begin = minimum(last, first + int64_t(-address & 15) / int64_t(sizeof(Element)));
    const int64_t end = begin + (last - begin) / width * width;
    Sums sums{};
    for (int64_t lane = first + threadIdx.x; lane < begin; lane += kThreads)
      RowPart<Element>(a, x, lane).add(x[lane], sums);
    for (int64_t lane = begin + threadIdx.x * width; lane < end; lane += kThreads * width) {
      const Raw raw = load<Raw>(x + lane);
      Element elements[width];
      memcpy(elements, &raw, sizeof(raw));
      RowPart<Element> at(a, x, lane);
      SNN_LANES
      for (int i = 0; i < width; ++i) at.add(elements[i], sums);
    }
    for (int64_t lane = end + threadIdx.x; lane < last; lane += kThreads)
      RowPart<Element>(a, x, lane).add(x[lane], sums);
    block_sums<Counts::kColumns, 1>(sums.column);
    if (threadIdx.x != 0) continue;
    int64_t* out = a.out + row * Counts::kColumns;
    for (int c = 0; c < Counts::kColumns - 1; ++c)
      if (sums.column[c] != 0) atomic_add(out + c, sums.column[c]);
    if (sums.column[5] != 0) atomic_or(out + 5, sums.column[5]);
  }
}

// Where a row is not of integers its sums of |x| are 0.
__global__ void __launch_bounds__(kThreads) finish_kernel(int64_t* out, int64_t rows) {
  for (int64_t r = int64_t(blockIdx.x) * kThreads + threadIdx.x; r < rows; r += int64_t(gridDim.x) * kThreads) {
    int64_t* row = out + r * Counts::kColumns;
    if (row[5] & kFraction) row[1] = row[3] = 0;
  }
}

// Rows of threads below each other, so that a few columns fill a block too.
constexpr int kColumns = 32, kBelow = kThreads / kColumns;

template <class Element>
SNN_DEVICE int64_t column_nonzero(const void* data, int64_t matrix, int64_t rows, int64_t columns, int64_t column) {
  const Element* x = static_cast<const Element*>(data) + matrix * rows * columns + column;
  int64_t count = 0;
  for (int64_t r = threadIdx.x / kColumns; r < rows; r += kBelow) count += real(x[r * columns]) != 0;
  return count;
}

SNN_DEVICE int64_t column_nonzero(DType dtype, const void* data, int64_t matrix, int64_t rows, int64_t columns,
                                  int64_t column) {
  switch (dtype) {
    case DType::kFloat:
      return column_nonzero<float>(data, matrix, rows, columns, column);
    case DType::kDouble:
      return column_nonzero<double>(data, matrix, rows, columns, column);
    case DType::kBFloat16:
      return column_nonzero<BFloat16>(data, matrix, rows, columns, column);
    case DType::kHalf:
      return column_nonzero<Half>(data, matrix, rows, columns, column);
  }
  return 0;
}

__global__ void __launch_bounds__(kThreads) overlap_kernel(const OverlapArgs a, int64_t parts) {
  int64_t* shared = shared_sums();
  for (int64_t k = blockIdx.x; k < a.batch * parts; k += gridDim.x) {
    const int64_t matrix = k / parts, column = (k - matrix * parts) * kColumns + threadIdx.x % kColumns;
    int64_t sums[3] = {};
    if (column < a.K) {
      sums[1] = column_nonzero(a.left_dtype, a.left, matrix, a.M, a.K, column);
      sums[2] = column_nonzero(a.right_dtype, a.right, matrix, a.N, a.K, column);
    }
    __syncthreads();
    shared[threadIdx.x] = sums[1];
    shared[kThreads + threadIdx.x] = sums[2];
    __syncthreads();
    if (threadIdx.x < kColumns) {
      int64_t left = 0, right = 0;
      for (int b = 0; b < kBelow; ++b) {
        left += shared[b * kColumns + threadIdx.x];
        right += shared[kThreads + b * kColumns + threadIdx.x];
      }
      sums[0] = left * right;
    }
    block_sums<3, 0>(sums);
    if (threadIdx.x != 0) continue;
    for (int c = 0; c < 3; ++c)
      if (sums[c] != 0) atomic_add(a.out + matrix * 3 + c, sums[c]);
  }
}

int64_t most(int64_t blocks) { return blocks < kMostBlocks ? blocks : kMostBlocks; }

template <class Element>
void launch_rows(const CountArgs& a, int64_t rows, void* stream) {
  const int64_t part = kBlockBytes / int64_t(sizeof(Element)), parts = (a.lanes + part - 1) / part;
  launch(rows_kernel<Element>, most(rows * parts), kThreads, kMostSums * kThreads * 8, stream, a, rows, part, parts);
}

}  // namespace

void count_rows_on_device(const CountArgs& a, int64_t rows, void* stream) {
  if (rows == 0 || a.lanes == 0) return;
  switch (a.dtype) {
    case DType::kFloat:
      launch_rows<float>(a, rows, stream);
      break;
    case DType::kDouble:
      launch_rows<double>(a, rows, stream);
      break;
    case DType::kBFloat16:
      launch_rows<BFloat16>(a, rows, stream);
      break;
    case DType::kHalf:
      launch_rows<Half>(a, rows, stream);
      break;
  }
  launch(finish_kernel, most((rows + kThreads - 1) / kThreads), kThreads, 0, stream, a.out, rows);
}

void overlap_on_device(const OverlapArgs& a, void* stream) {
  const int64_t parts = (a.K + kColumns - 1) / kColumns;
  if (a.batch * parts == 0) return;
  launch(overlap_kernel, most(a.batch * parts), kThreads, 3 * kThreads * 8, stream, a, parts);
}

}  // namespace snn
