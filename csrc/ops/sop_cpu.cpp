// Counting ops on the CPU: rows over torch's threads. Integers add up to the same number in any order.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "core/count.h"
#include "ops/checks.h"
#include "ops/isa.h"
#include "ops/sop_call.h"

namespace snn {
namespace {

void spike_count_out(const Tensor x, int64_t rows, const std::optional<Tensor> fan_out,
                     const std::optional<Tensor> fan_eff, const std::optional<Tensor> counted, const Tensor out,
                     int64_t start) {
  SpikeCountCall call(x, SpikeCountCall::checked_rows(x, rows), fan_out, fan_eff, out, start);
  if (rows == 0) return;
  if (const int64_t* ones = SpikeCountCall::known(x, rows, counted)) {
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t columns[Counts::kColumns] = {ones[row], ones[row]};
      std::copy(columns, columns + Counts::kColumns, call.args.out + row * Counts::kColumns);
    }
    return;
  }
  int64_t widest = 1;
  for (const int32_t* map : {call.args.fan, call.args.eff})
    for (int64_t i = 0; map && i < call.args.period; ++i) widest = std::max(widest, std::abs(int64_t(map[i])));
  call.args.block = int(std::clamp<int64_t>(INT32_MAX / widest, 1, 2048));
  const auto kernel = current_isa().count_kernels()->rows[call.args.dtype == DType::kDouble];
  const int64_t grain = std::max<int64_t>(1, (1 << 16) / std::max<int64_t>(call.args.lanes, 1));
  torch::stable::parallel_for(0, rows, grain, [&](int64_t begin, int64_t end) { kernel(call.args, begin, end); });
}

Tensor spike_count(const Tensor x, int64_t rows, const std::optional<Tensor> fan_out,
                   const std::optional<Tensor> fan_eff) {
  Tensor out = SpikeCountCall::output(x, rows);
  spike_count_out(x, rows, fan_out, fan_eff, std::nullopt, out, 0);
  return out;
}

Tensor overlap_count(const Tensor left, const Tensor right) {
  OverlapCall call(left, right);
  const auto kernel = current_isa().count_kernels()->columns;
  torch::stable::parallel_for(0, call.batch, 1, [&](int64_t begin, int64_t end) {
    std::vector<int32_t> a, b;
    for (int64_t i = begin; i < end; ++i) {
      a.assign(size_t(call.K), 0);
      b.assign(size_t(call.K), 0);
      kernel[call.left_dtype == DType::kDouble](call.left_at(i), call.left_dtype, call.M, call.K, a.data());
      kernel[call.right_dtype == DType::kDouble](call.right_at(i), call.right_dtype, call.N, call.K, b.data());
      int64_t overlap = 0, nnz_left = 0, nnz_right = 0;
      for (int64_t k = 0; k < call.K; ++k) {
        overlap += int64_t(a[size_t(k)]) * b[size_t(k)];
        nnz_left += a[size_t(k)];
        nnz_right += b[size_t(k)];
      }
      const int64_t columns[] = {overlap, nnz_left, nnz_right};
      std::copy(columns, columns + 3, call.out + 3 * i);
    }
  });
  return call.counts;
}

}  // namespace
}  // namespace snn

STABLE_TORCH_LIBRARY_IMPL(snncore, CPU, m) {
  m.impl("spike_count", TORCH_BOX(&snn::spike_count));
  m.impl("spike_count_out", TORCH_BOX(&snn::spike_count_out));
  m.impl("overlap_count", TORCH_BOX(&snn::overlap_count));
}
