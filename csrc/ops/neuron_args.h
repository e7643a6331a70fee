// What the op glue hands to a kernel: plain pointers and numbers, no torch, the same for CPU and CUDA.
#pragma once

#include <stdint.h>

namespace snn {

enum class DType : int { kFloat = 0, kDouble = 1, kBFloat16 = 2, kHalf = 3 };

// "state" tensors are double for double x and float otherwise. Lanes of one step are contiguous; x_seq and
// grad_spike_seq may have any distance between steps (0 for an expanded input).
struct NeuronArgs {
  DType dtype;  // of x_seq, spike_seq and their gradients
  int64_t T, N;
  const void* x_seq;       // [T, N]
  int64_t x_stride;        // elements between two steps
  const void* state_init;  // [states, N] or nullptr: `state_rest` everywhere
  const double* state_rest;
  const void* params;       // [1 + params, channels] (one more row: alpha) or nullptr: the first of `numbers`
  int64_t channels, inner;  // lane -> channel: (lane / inner) % channels
  bool has_alpha;           // `params` ends with a row of the surrogate's alpha
  const double* numbers;    // v_threshold and parameters, then constants
  double v_reset;
  int64_t reset;
  bool detach_reset, detach_state, smooth;
  int64_t surrogate;
  double surrogate_a, surrogate_b;
};

struct ForwardOut {
  void* spike_seq;   // [T, N]
  void* state_last;  // [states, N] or nullptr
  void* v_seq;       // [T, N] or nullptr
  // [T, samples] or nullptr: starts at 0; kernels add the elements of spike_seq that are not zero. A sample is
  // N / samples neighbouring lanes.
  int64_t* spike_count;
  int64_t samples;
};

struct BackwardIo {
  const void* grad_spike_seq;  // [T, N] or nullptr
  int64_t grad_spike_stride;
  const void* grad_state_last;  // [states, N] or nullptr
  const void* grad_v_seq;       // [T, N] contiguous or nullptr
  void* grad_x_seq;             // [T, N]
  void* grad_state_init;        // [states, N] or nullptr
  void* grad_params;            // nullptr, or [rows of params, N] (channels > 1), or [rows, tiles] double
};

}  // namespace snn
