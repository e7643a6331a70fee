// Starting the kernels of the counting ops. No torch.
#pragma once

#include "core/count.h"
#include "ops/count_args.h"

namespace snn {

// args.out [rows, Counts::kColumns] starts at 0.
void count_rows_on_device(const CountArgs& args, int64_t rows, void* stream);

// Non-zero elements per column of left [batch, M, K] and right [batch, N, K], multiplied and summed over K.
struct OverlapArgs {
  const void *left, *right;
  DType left_dtype, right_dtype;
  int64_t batch, M, N, K;
  int64_t* out;  // [batch, 3], starts at 0
};
void overlap_on_device(const OverlapArgs& args, void* stream);

}  // namespace snn
