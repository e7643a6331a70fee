// Neuron ops on the CPU: tiles of lanes over torch's threads.
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <memory>
#include <new>

#include "ops/isa.h"
#include "ops/neuron_call.h"
#include "ops/tables.h"

namespace snn {

std::vector<std::string> cpu_capabilities() {
  std::vector<std::string> all;
  for (int i = 0; i < kIsaCount; ++i)
    if (kIsas[i].supported()) all.emplace_back(kIsas[i].name);
  return all;
}
std::string cpu_capability() { return current_isa().name; }
bool set_cpu_capability(const std::string& name) { return set_isa(name.c_str()); }

namespace {

int64_t real_bytes(DType dtype) { return dtype == DType::kDouble ? 8 : 4; }

// Scratch memory of a thread: kept, because asking for it anew costs more than a small kernel.
class Scratch {
 public:
  ~Scratch() { free(data_); }
  void* at_least(size_t bytes) {
    if (bytes > bytes_) {
      free(data_);
      bytes_ = (bytes + 4095) / 4096 * 4096;
      data_ = aligned_alloc(64, bytes_);
      if (!data_) throw std::bad_alloc();
    }
    return data_;
  }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

// Calls run(begin, end, scratch) for ranges of whole tiles. Tiles do not depend on the number of threads.
template <class Run>
void over_tiles(const NeuronCall& call, int64_t tile, int64_t rows, const Run& run) {
  const int64_t N = call.args.N;
  if (N == 0) return;
  const int64_t tiles = (N + tile - 1) / tile;
  constexpr int64_t kWorthAThread = 1 << 15;  // element-steps
  const int64_t grain = std::max<int64_t>(1, kWorthAThread / (tile * std::max<int64_t>(call.args.T, 1)));
  const size_t bytes = size_t(rows * (tile * real_bytes(call.dtype) + 64));
  torch::stable::parallel_for(0, tiles, grain, [&](int64_t begin, int64_t end) {
    thread_local Scratch scratch;
    run(begin * tile, std::min(N, end * tile), scratch.at_least(bytes));
  });
}

template <class Real>
void reduce_channels(const NeuronCall& call, const Real* lanes, Real* out) {
  const int64_t C = call.args.channels, inner = call.args.inner, N = call.args.N, P = call.param_rows();
  for (int64_t k = 0; k < P; ++k) {
    torch::stable::parallel_for(0, C, 64, [&](int64_t begin, int64_t end) {
      std::vector<double> sums(size_t(end - begin), 0.0);
      for (int64_t block = 0; block < N; block += C * inner)
        for (int64_t c = begin; c < end; ++c)
          for (int64_t i = 0; i < inner; ++i) sums[size_t(c - begin)] += double(lanes[k * N + block + c * inner + i]);
      for (int64_t c = begin; c < end; ++c) out[k * C + c] = Real(sums[size_t(c - begin)]);
    });
  }
}

// [P, channels] from what the kernels left: sums per tile (one channel) or per lane.
Tensor reduce_params(const BackwardCall& call, const Tensor& partial, int64_t tiles) {
  Tensor out = empty_contiguous({call.param_rows(), call.args.channels}, state_dtype(call.dtype), call.x_seq);
  const auto reduce = [&](auto zero) {
    using Real = decltype(zero);
    Real* to = static_cast<Real*>(out.mutable_data_ptr());
    if (call.args.channels > 1) return reduce_channels(call, static_cast<const Real*>(partial.const_data_ptr()), to);
    const double* sums = static_cast<const double*>(partial.const_data_ptr());
    for (int64_t k = 0; k < call.param_rows(); ++k) {
      double sum = 0;
      for (int64_t i = 0; i < tiles; ++i) sum += sums[k * tiles + i];
      to[k] = Real(sum);
    }
  };
  call.dtype == DType::kDouble ? reduce(double()) : reduce(float());
  return out;
}

template <int kNeuron>
Four forward(const Tensor x_seq, const Maybe state_init, const Maybe params, int64_t inner, Numbers numbers,
             int64_t reset, bool detach_reset, bool detach_state, int64_t surrogate, bool smooth, bool keep_state,
             bool keep_v_seq, MaybeInt samples) {
  ForwardCall call(neuron_facts(Neurons{}, kNeuron), x_seq, state_init, params,
                   {inner, std::move(numbers), reset, detach_reset, detach_state, surrogate, smooth}, keep_state,
                   keep_v_seq, samples);
  if (call.out.spike_count) memset(call.out.spike_count, 0, call.count_bytes());
  const auto kernel = current_isa().neuron_kernels()->forward[kNeuron][call.dtype == DType::kDouble];
  const int64_t tile = forward_tile_lanes(real_bytes(call.dtype));
  over_tiles(call, tile, scratch_rows(call.args.T, call.facts.states, call.facts.params, call.facts.fires, false),
             [&](int64_t begin, int64_t end, void* scratch) { kernel(call.args, call.out, begin, end, scratch); });
  return call.result();
}

template <int kNeuron>
Three backward(const Maybe grad_spike_seq, const Maybe grad_state_last, const Maybe grad_v_seq, const Tensor x_seq,
               const Maybe state_init, const Maybe params, int64_t inner, Numbers numbers, int64_t reset,
               bool detach_reset, bool detach_state, int64_t surrogate, bool smooth, bool want_grad_state,
               bool want_grad_params) {
  BackwardCall call(neuron_facts(Neurons{}, kNeuron), grad_spike_seq, grad_state_last, grad_v_seq, x_seq, state_init,
                    params, {inner, std::move(numbers), reset, detach_reset, detach_state, surrogate, smooth},
                    want_grad_state);
  const int64_t tile = backward_tile_lanes(call.args.T, call.facts.states, real_bytes(call.dtype));
  const int64_t tiles = (call.args.N + tile - 1) / tile;
  const bool want_params = want_grad_params && call.args.params;
  Tensor partial = call.nothing();
  if (want_params) {
    const bool per_lane = call.args.channels > 1;
    partial = empty_contiguous({call.param_rows(), per_lane ? call.args.N : tiles},
                               per_lane ? state_dtype(call.dtype) : ScalarType::Double, call.x_seq);
    call.io.grad_params = partial.mutable_data_ptr();
  }
  const auto kernel = current_isa().neuron_kernels()->backward[kNeuron][call.dtype == DType::kDouble];
  over_tiles(call, tile, scratch_rows(call.args.T, call.facts.states, call.facts.params, call.facts.fires, true),
             [&](int64_t begin, int64_t end, void* scratch) { kernel(call.args, call.io, begin, end, scratch); });
  return {call.grad_x_seq, call.grad_state_init, want_params ? reduce_params(call, partial, tiles) : call.nothing()};
}

template <int... kNeuron>
void implement(torch::stable::detail::StableLibrary& m, std::integer_sequence<int, kNeuron...>) {
  const auto name = [](int k, const char* suffix) { return std::string(neuron_facts(Neurons{}, k).name) + suffix; };
  (m.impl(name(kNeuron, "_forward").c_str(), TORCH_BOX(&forward<kNeuron>)), ...);
  (m.impl(name(kNeuron, "_backward").c_str(), TORCH_BOX(&backward<kNeuron>)), ...);
}

}  // namespace
}  // namespace snn

STABLE_TORCH_LIBRARY_IMPL(snncore, CPU, m) { snn::implement(m, std::make_integer_sequence<int, snn::Neurons::size>{}); }
