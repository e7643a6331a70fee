// Counting the non-zero elements of rows, weighted by how many synapses each lane reaches.
#pragma once

#include <stdint.h>

namespace snn {

// What a row's values are, as bits: none set: zeros and ones only.
enum ValueFlag : int { kNegative = 1, kAboveOne = 2, kFraction = 4 };  // kAboveOne: |x| > 1; kFraction: no integer

// One row. `sum_abs` and `fan_abs` say nothing where kFraction is set.
struct Counts {
  static constexpr int kColumns = 6;
  int64_t nnz;      // elements that are not zero (NaN is not)
  int64_t sum_abs;  // sum of |x|
  int64_t fan;      // sum of fan_out over the non-zero elements
  int64_t fan_abs;  // sum of |x| * fan_out
  int64_t eff;      // sum of fan_eff over the non-zero elements
  int64_t flags;    // ValueFlag
};

}  // namespace snn
