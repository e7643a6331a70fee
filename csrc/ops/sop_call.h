// One call of a counting op: arguments checked, output allocated. Shared by the CPU and the CUDA glue.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include "core/count.h"
#include "ops/checks.h"
#include "ops/count_args.h"
#include "ops/neuron_call.h"

namespace snn {

struct SpikeCountCall {
  Tensor x;
  std::optional<Tensor> fan, eff;
  CountArgs args{};

  SpikeCountCall(const Tensor& given, int64_t rows, const std::optional<Tensor>& fan_out,
                 const std::optional<Tensor>& fan_eff, const Tensor& out, int64_t start)
      : x(torch::stable::contiguous(given)) {
    const std::string op = "snncore::spike_count";
    const int64_t numel = given.numel();
    STD_TORCH_CHECK(out.scalar_type() == ScalarType::Long && out.is_contiguous() && same_device(out, given), op,
                    ".out: must be contiguous int64 on the device of x");
    STD_TORCH_CHECK(start >= 0 && start <= out.numel() - rows * Counts::kColumns, op, ".start: must leave room for ",
                    Counts::kColumns, " columns of each row in the ", out.numel(), " elements of out, got ", start);
    args.dtype = kernel_dtype(op, given, "x");
    args.x = x.const_data_ptr();
    args.lanes = rows == 0 ? 0 : numel / rows;
    args.period = args.lanes;
    args.fan = map(op + ".fan_out", given, fan_out, fan);
    args.eff = map(op + ".fan_eff", given, fan_eff, eff);
    STD_TORCH_CHECK(!args.eff || args.fan, op, ".fan_eff: needs fan_out too");
    args.out = static_cast<int64_t*>(out.mutable_data_ptr()) + start;
  }

  // The ones in every row, if somebody has counted them.
  static const int64_t* known(const Tensor& x, int64_t rows, const std::optional<Tensor>& counted) {
    if (!counted.has_value()) return nullptr;
    STD_TORCH_CHECK(counted->scalar_type() == ScalarType::Long && counted->is_contiguous() &&
                        counted->numel() == rows && same_device(*counted, x),
                    "snncore::spike_count.counted: must be contiguous int64 of one element for each row, beside x");
    return static_cast<const int64_t*>(counted->const_data_ptr());
  }

  // The tensor to be written where the caller gives none.
  static Tensor output(const Tensor& x, int64_t rows) {
    return empty_contiguous({checked_rows(x, rows), Counts::kColumns}, ScalarType::Long, x);
  }

  static int64_t checked_rows(const Tensor& x, int64_t rows) {
    const int64_t numel = x.numel();
    STD_TORCH_CHECK(numel == 0 ? rows >= 0 && rows <= INT32_MAX : rows > 0 && numel % rows == 0,
                    "snncore::spike_count.rows: must divide the ", numel, " elements of x, got ", rows);
    return rows;
  }

 private:
  const int32_t* map(const std::string& who, const Tensor& x_given, const std::optional<Tensor>& m,
                     std::optional<Tensor>& kept) {
    if (!m.has_value()) return nullptr;
    const int64_t period = m->numel();
    STD_TORCH_CHECK(m->scalar_type() == ScalarType::Int, who, ": must be int32");
    STD_TORCH_CHECK(same_device(*m, x_given), who, ": must be on the device of x; move it there");
    STD_TORCH_CHECK(args.lanes == 0 || (period > 0 && args.lanes % period == 0), who, ": must hold a divisor of the ",
                    args.lanes, " elements of a row, got ", period);
    STD_TORCH_CHECK(args.lanes == 0 || !args.fan || period == args.period, who, ": must be as long as fan_out");
    if (args.lanes > 0) args.period = period;
    kept = torch::stable::contiguous(*m);
    return static_cast<const int32_t*>(kept->const_data_ptr());
  }
};

// left [batch, M, K] and right [batch, N, K]: the rows of each are the vectors that are multiplied.
struct OverlapCall {
  Tensor left, right, counts;
  DType left_dtype, right_dtype;
  int64_t batch, M, N, K;
  int64_t* out;

  OverlapCall(const Tensor& a, const Tensor& b)
      : left(torch::stable::contiguous(a)),
        right(torch::stable::contiguous(b)),
        counts(empty_contiguous({a.dim() == 3 ? a.size(0) : 0, 3}, ScalarType::Long, a)) {
    const std::string op = "snncore::overlap_count";
    STD_TORCH_CHECK(a.dim() == 3 && b.dim() == 3 && a.size(0) == b.size(0) && a.size(2) == b.size(2), op,
                    ": must get left [batch, M, K] and right [batch, N, K]");
    STD_TORCH_CHECK(same_device(a, b), op, ".right: must be on the device of left; move it there");
    left_dtype = kernel_dtype(op, a, "left");
    right_dtype = kernel_dtype(op, b, "right");
    batch = a.size(0);
    M = a.size(1);
    N = b.size(1);
    K = a.size(2);
    out = static_cast<int64_t*>(counts.mutable_data_ptr());
  }

  const void* left_at(int64_t i) const { return at(left, left_dtype, i * M * K); }
  const void* right_at(int64_t i) const { return at(right, right_dtype, i * N * K); }

 private:
  static const void* at(const Tensor& t, DType dtype, int64_t element) {
    const int64_t bytes = dtype == DType::kDouble ? 8 : dtype == DType::kFloat ? 4 : 2;
    return static_cast<const char*>(t.const_data_ptr()) + element * bytes;
  }
};

}  // namespace snn
