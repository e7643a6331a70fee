// What the op glue hands to a counting kernel.
#pragma once

#include "ops/neuron_args.h"

namespace snn {

struct CountArgs {
  DType dtype;
  const void* x;  // [rows, lanes]
  int64_t lanes;
  const int32_t* fan;  // [period] or nullptr: fan-out of each lane, repeated along a row
  const int32_t* eff;  // the same, counting synapses whose weight is not zero
  int64_t period;      // divides lanes; lanes where there is no map
  int block;           // so many lanes that their sums fit 32 bits
  int64_t* out;        // [rows, Counts::kColumns]
};

}  // namespace snn
