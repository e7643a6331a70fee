// Counting the non-zero elements of rows, weighted by how many synapses each lane reaches.
#pragma once

#include "core/math.h"

namespace snn {

// What a row's values are, as bits; none set: zeros and ones only.
enum ValueFlag : int { kNegative = 1, kAboveOne = 2, kFraction = 4 };  // kAboveOne: |x| > 1

// Integers are those up to 2^22 in size, in every dtype; all else, infinity and NaN too, sets kFraction. Up to there
// adding and subtracting 1.5 * 2^mantissa rounds a float to an integer, in vector code on every instruction set.
template <class Real>
SNN_HD bool is_whole(Real size) {
  const Real rounded = (size + Bits<Real>::round_magic) - Bits<Real>::round_magic;
  return (rounded == size) & (size <= Real(1 << 22));
}

// One row. `sum_abs` and `fan_abs` are 0 where kFraction is set.
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
