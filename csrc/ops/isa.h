// The CPU kernels of one instruction set, and which set is in use.
#pragma once

#include "neuron/all.h"
#include "ops/count_args.h"
#include "ops/neuron_args.h"

namespace snn {

// Kernels work on the lanes [begin, end) of whole tiles. `scratch` is aligned memory of scratch_bytes(...).
using ForwardKernel = void (*)(const NeuronArgs&, const ForwardOut&, int64_t begin, int64_t end, void* scratch);
using BackwardKernel = void (*)(const NeuronArgs&, const BackwardIo&, int64_t begin, int64_t end, void* scratch);

struct NeuronKernels {
  ForwardKernel forward[Neurons::size][2];  // arithmetic in float, in double
  BackwardKernel backward[Neurons::size][2];
};

// Rows [begin, end) of a tensor of `lanes` elements a row.
using CountRowsKernel = void (*)(const CountArgs&, int64_t begin, int64_t end);
using CountColumnsKernel = void (*)(const void* data, DType, int64_t rows, int64_t columns, int32_t* out);

struct CountKernels {
  CountRowsKernel rows[2];  // float, double
  CountColumnsKernel columns[2];
};

struct Isa {
  const char* name;
  bool (*supported)();
  const NeuronKernels* (*neuron_kernels)();
  const CountKernels* (*count_kernels)();
};

extern const Isa kIsas[];  // worst first
extern const int kIsaCount;

const Isa& current_isa();
// False if the name is unknown, not built, or not supported by this CPU.
bool set_isa(const char* name);

// Geometry of tiles, shared by the glue and the kernels. Depends on nothing but the shape: results never depend on
// the number of threads.
int64_t forward_tile_lanes(int64_t real_bytes);
int64_t backward_tile_lanes(int64_t T, int64_t states, int64_t real_bytes);
int64_t stream_threshold_bytes();  // outputs from this size on are written past the caches
int64_t scratch_rows(int64_t T, int64_t states, int64_t params, int64_t fires, bool backward);

}  // namespace snn
