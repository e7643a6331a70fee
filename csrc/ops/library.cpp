// All schemas, and the tables that Python reads instead of retyping numbers.
//
// For every neuron of neuron/all.h (S states, P parameters, C constants; lanes = all elements of one step):
//   <name>_forward   x_seq [T, *] -> spike_seq [T, *] in x's dtype, state_last [S, *], v_seq [T, *], and
//                    spike_count [T, samples] int64: elements of spike_seq that are not zero; a sample is
//                    lanes / samples neighbouring lanes; samples none: not counted
//   <name>_backward  gradients of those -> grad_x_seq [T, *], grad_state_init [S, *], grad_params (as params)
//   What was not asked for (keep_*, want_*, samples) comes as a tensor of shape [0].
//   numbers: S resting values of the states, v_threshold, P parameters, C constants, v_reset, the surrogate's a and b:
//   one list, because each list of a call costs a microsecond.
//   state_init [S, *] or none (then the resting values); params [1 + P, channels] (v_threshold and parameters; one more
//   row: the surrogate's alpha) or none (then those in numbers); lane -> channel is (lane / inner) % channels.
//   reset: 0 hard, 1 soft, 2 none. Forward takes detach_* only to hand them to autograd.
//   States and parameters are float64 beside float64 x_seq and float32 beside every other dtype.
//
// Counters (core/count.h):
//   spike_count    x [rows * lanes] -> int64 [rows, 6]: non-zero elements, sum |x|, both weighted by fan_out [period],
//                  non-zero elements weighted by fan_eff [period], flags of the values. period divides lanes.
//   spike_count_out  the same, written to the elements of `out`, int64, from `start` on. counted, int64 [rows]: the
//                  ones of every row, where they are known and all else is zero; x is then not read.
//   overlap_count  left [batch, M, K], right [batch, N, K] -> int64 [batch, 3]: pairs of non-zeros that meet in
//                  left @ right^T, non-zero elements of left, of right.
#include <torch/csrc/stable/library.h>

#include <string>

#include "ops/neuron_call.h"
#include "ops/tables.h"

namespace snn {

namespace {

template <class... S>
std::vector<std::string> names(SurrogateList<S...>) {
  return {S::name...};
}

template <class... S>
std::vector<std::string> learnable_names(SurrogateList<S...>) {
  std::vector<std::string> found;
  (void(S::learnable ? (found.emplace_back(S::name), 0) : 0), ...);
  return found;
}

void define_neuron(torch::stable::detail::StableLibrary& m, const NeuronFacts& f) {
  const std::string dynamics =
      "Tensor x_seq, Tensor? state_init, Tensor? params, int inner, float[] numbers, int reset, bool detach_reset, "
      "bool detach_state, int surrogate, bool smooth, ";
  const std::string forward = std::string(f.name) + "_forward(" + dynamics +
                              "bool keep_state, bool keep_v_seq, int? samples)"
                              " -> (Tensor spike_seq, Tensor state_last, Tensor v_seq, Tensor spike_count)";
  const std::string backward = std::string(f.name) +
                               "_backward(Tensor? grad_spike_seq, Tensor? grad_state_last, Tensor? grad_v_seq, " +
                               dynamics +
                               "bool want_grad_state, bool want_grad_params)"
                               " -> (Tensor grad_x_seq, Tensor grad_state_init, Tensor grad_params)";
  m.def(forward.c_str());
  m.def(backward.c_str());
}

}  // namespace

std::vector<std::string> surrogate_names() { return names(Surrogates{}); }

std::vector<std::string> learnable_surrogates() { return learnable_names(Surrogates{}); }

std::vector<NeuronRow> neuron_table() {
  std::vector<NeuronRow> rows;
  for (int k = 0; k < Neurons::size; ++k) {
    const NeuronFacts f = neuron_facts(Neurons{}, k);
    rows.push_back({f.name, f.states, f.params, f.constants, f.fires});
  }
  return rows;
}

}  // namespace snn

STABLE_TORCH_LIBRARY(snncore, m) {
  for (int k = 0; k < snn::Neurons::size; ++k) snn::define_neuron(m, snn::neuron_facts(snn::Neurons{}, k));
  m.def("spike_count(Tensor x, int rows, Tensor? fan_out, Tensor? fan_eff) -> Tensor");
  m.def(
      "spike_count_out(Tensor x, int rows, Tensor? fan_out, Tensor? fan_eff, Tensor? counted, Tensor(a!) out, "
      "int start) -> ()");
  m.def("overlap_count(Tensor left, Tensor right) -> Tensor");
}
