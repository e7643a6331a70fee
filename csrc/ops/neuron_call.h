// One call of a neuron op: arguments from torch checked and turned into plain pointers, outputs allocated.
// Shared by the CPU and the CUDA glue; what differs is only how a kernel is started.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <tuple>
#include <vector>

#include "core/surrogate.h"
#include "neuron/all.h"
#include "ops/checks.h"
#include "ops/output_blocks.h"

namespace snn {

struct NeuronFacts {
  const char* name;
  int states, params, constants, fires;
};

template <class... N>
constexpr NeuronFacts neuron_facts(NeuronList<N...>, int which) {
  constexpr NeuronFacts all[] = {{N::name, N::states, N::params, N::constants, N::fires}...};
  return all[which];
}

inline int64_t element_bytes(ScalarType dtype) {
  switch (dtype) {
    case ScalarType::Double:
    case ScalarType::Long:
      return 8;
    case ScalarType::Float:
      return 4;
    case ScalarType::BFloat16:
    case ScalarType::Half:
      return 2;
    default:
      STD_TORCH_CHECK(false, "element_bytes: must be a dtype of an output; add it there");
  }
  return 0;
}

inline Tensor empty_contiguous(const std::vector<int64_t>& sizes, ScalarType dtype, const Tensor& like) {
  std::vector<int64_t> strides(sizes.size());
  int64_t step = 1, numel = 1;
  for (size_t i = sizes.size(); i-- > 0;) {
    strides[i] = step;
    step *= sizes[i] > 1 ? sizes[i] : 1;
    numel *= sizes[i];
  }
  int32_t device_type = 0, device_index = 0;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(like.get(), &device_type));
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_index(like.get(), &device_index));
  AtenTensorHandle handle = nullptr;
  const auto code = torch::stable::detail::to<int32_t>(torch::stable::detail::from(dtype));
  if (device_type == aoti_torch_device_type_cpu() &&
      tensor_from_block(sizes, strides, numel * element_bytes(dtype), code, &handle))
    return Tensor(handle);
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(int64_t(sizes.size()), sizes.data(), strides.data(), code,
                                                         device_type, device_index, &handle));
  return Tensor(handle);
}

// True if the lanes of every step lie one after another, whatever the distance between steps.
inline bool lanes_contiguous(const Tensor& x) {
  int64_t step = 1;
  for (int64_t d = x.dim() - 1; d > 0; --d) {
    if (x.size(d) != 1 && x.stride(d) != step) return false;
    step *= x.size(d);
  }
  return true;
}

inline Tensor with_contiguous_lanes(const Tensor& x) { return lanes_contiguous(x) ? x : torch::stable::contiguous(x); }

using Numbers = std::vector<double>;
using Maybe = std::optional<Tensor>;
using MaybeInt = std::optional<int64_t>;
using Three = std::tuple<Tensor, Tensor, Tensor>;
using Four = std::tuple<Tensor, Tensor, Tensor, Tensor>;

// What forward and backward of an op share, as in the schemas of library.cpp.
struct NeuronOptions {
  int64_t inner;
  Numbers numbers;
  int64_t reset;
  bool detach_reset, detach_state;
  int64_t surrogate;
  bool smooth;
};

struct NeuronCall {
  NeuronFacts facts;
  std::string op;
  Tensor x_seq;
  Maybe state_init, params;
  NeuronOptions options;
  DType dtype;
  NeuronArgs args{};

  NeuronCall(NeuronFacts f, const char* suffix, const Tensor& x, const Maybe& init, const Maybe& p, NeuronOptions o)
      : facts(f),
        op(std::string("snncore::") + f.name + suffix),
        x_seq(with_contiguous_lanes(x)),
        options(std::move(o)),
        dtype(kernel_dtype(op, x)) {
    STD_TORCH_CHECK(x.dim() >= 1, op, ".x_seq: must be [T, ...], got a scalar; add the time dimension");
    args.dtype = dtype;
    args.T = x.size(0);
    args.N = 1;
    for (int64_t d = 1; d < x.dim(); ++d) args.N *= x.size(d);
    args.x_seq = x_seq.const_data_ptr();
    args.x_stride = args.T > 1 ? x_seq.stride(0) : args.N;
    set_lanes(x, init, p);
    set_numbers();
  }

  std::vector<int64_t> seq_sizes() const {
    std::vector<int64_t> s(size_t(x_seq.dim()));
    for (int64_t d = 0; d < x_seq.dim(); ++d) s[size_t(d)] = x_seq.size(d);
    return s;
  }
  std::vector<int64_t> state_sizes() const {
    auto s = seq_sizes();
    s[0] = facts.states;
    return s;
  }
  int64_t param_rows() const { return 1 + facts.params + args.has_alpha; }
  Tensor empty_seq() const { return empty_contiguous(seq_sizes(), x_seq.scalar_type(), x_seq); }
  Tensor empty_state_seq() const { return empty_contiguous(seq_sizes(), state_dtype(dtype), x_seq); }
  Tensor empty_state() const { return empty_contiguous(state_sizes(), state_dtype(dtype), x_seq); }
  Tensor nothing() const { return empty_contiguous({0}, state_dtype(dtype), x_seq); }

 private:
  void set_lanes(const Tensor& x, const Maybe& init, const Maybe& p) {
    const int64_t N = args.N, inner = options.inner, rows = 1 + facts.params;
    args.channels = 1;
    args.inner = inner;
    if (p.has_value()) {
      STD_TORCH_CHECK(p->dim() == 2 && p->size(1) >= 1 && (p->size(0) == rows || p->size(0) == rows + 1), op,
                      ".params: must be [", rows, ", channels] (v_threshold and parameters) or [", rows + 1,
                      ", channels] (and alpha)");
      args.has_alpha = p->size(0) == rows + 1;
      const int64_t channels = args.channels = p->size(1);
      STD_TORCH_CHECK(N == 0 || (inner >= 1 && inner <= N && channels <= N / inner && N % (channels * inner) == 0), op,
                      ".inner: must divide the ", N, " lanes together with ", channels, " channels, got ", inner);
    }
    check_companion(op, "state_init", init, x, state_dtype(dtype), facts.states * N);
    check_companion(op, "params", p, x, state_dtype(dtype), param_rows() * args.channels);
    if (init.has_value()) state_init = torch::stable::contiguous(*init);
    if (p.has_value()) params = torch::stable::contiguous(*p);
    args.state_init = state_init ? state_init->const_data_ptr() : nullptr;
    args.params = params ? params->const_data_ptr() : nullptr;
  }

  void set_numbers() {
    const NeuronOptions& o = options;
    const int64_t own = facts.states + 1 + facts.params + facts.constants;
    STD_TORCH_CHECK(int64_t(o.numbers.size()) == own + 3, op, ".numbers: must hold ", own + 3, " numbers, got ",
                    o.numbers.size());
    STD_TORCH_CHECK(o.reset >= 0 && o.reset <= 2, op, ".reset: must be 0 (hard), 1 (soft) or 2 (none), got ", o.reset);
    STD_TORCH_CHECK(o.surrogate >= 0 && o.surrogate < Surrogates::size, op, ".surrogate: must be in [0, ",
                    Surrogates::size, "), got ", o.surrogate);
    STD_TORCH_CHECK(!o.smooth || dtype == DType::kDouble, op,
                    ".smooth: is for gradient checks and needs float64 x_seq");
    args.state_rest = o.numbers.data();
    args.numbers = args.state_rest + facts.states;
    const double* common = o.numbers.data() + own;
    args.v_reset = common[0];
    args.surrogate_a = common[1];
    args.surrogate_b = common[2];
    args.reset = o.reset;
    args.detach_reset = o.detach_reset;
    args.detach_state = o.detach_state;
    args.surrogate = o.surrogate;
    args.smooth = o.smooth;
  }
};

struct ForwardCall : NeuronCall {
  Tensor spike_seq, state_last, v_seq, spike_count;
  ForwardOut out;

  ForwardCall(NeuronFacts f, const Tensor& x, const Maybe& init, const Maybe& p, NeuronOptions o, bool keep_state,
              bool keep_v_seq, MaybeInt samples)
      : NeuronCall(f, "_forward", x, init, p, std::move(o)),
        spike_seq(empty_seq()),
        state_last(keep_state ? empty_state() : nothing()),
        v_seq(keep_v_seq ? empty_state_seq() : nothing()),
        spike_count(empty_counts(samples)),
        out{spike_seq.mutable_data_ptr(), keep_state ? state_last.mutable_data_ptr() : nullptr,
            keep_v_seq ? v_seq.mutable_data_ptr() : nullptr,
            samples ? static_cast<int64_t*>(spike_count.mutable_data_ptr()) : nullptr, samples.value_or(0)} {}
  Four result() const { return {spike_seq, state_last, v_seq, spike_count}; }
  size_t count_bytes() const { return size_t(args.T * out.samples) * sizeof(int64_t); }

 private:
  // The glue fills it with zeros.
  Tensor empty_counts(MaybeInt samples) const {
    if (!samples) return empty_contiguous({0}, ScalarType::Long, x_seq);
    const int64_t N = args.N;
    STD_TORCH_CHECK(N == 0 ? *samples >= 0 && *samples <= INT32_MAX : *samples > 0 && N % *samples == 0, op,
                    ".samples: must divide the ", N, " lanes of a step, got ", *samples);
    return empty_contiguous({args.T, *samples}, ScalarType::Long, x_seq);
  }
};

struct BackwardCall : NeuronCall {
  Maybe grad_spike_seq, grad_state_last, grad_v_seq;
  Tensor grad_x_seq, grad_state_init;
  BackwardIo io{};

  BackwardCall(NeuronFacts f, const Maybe& g_spike, const Maybe& g_state, const Maybe& g_v, const Tensor& x,
               const Maybe& init, const Maybe& p, NeuronOptions o, bool want_state)
      : NeuronCall(f, "_backward", x, init, p, std::move(o)),
        grad_x_seq(empty_seq()),
        grad_state_init(want_state ? empty_state() : nothing()) {
    check_companion(op, "grad_spike_seq", g_spike, x, x.scalar_type(), args.T * args.N);
    check_companion(op, "grad_state_last", g_state, x, state_dtype(dtype), facts.states * args.N);
    check_companion(op, "grad_v_seq", g_v, x, state_dtype(dtype), args.T * args.N);
    if (g_spike.has_value()) {
      STD_TORCH_CHECK(same_shape(*g_spike, x), op, ".grad_spike_seq: must have the shape of x_seq");
      grad_spike_seq = with_contiguous_lanes(*g_spike);
      io.grad_spike_seq = grad_spike_seq->const_data_ptr();
      io.grad_spike_stride = args.T > 1 ? grad_spike_seq->stride(0) : args.N;
    }
    if (g_state.has_value()) grad_state_last = torch::stable::contiguous(*g_state);
    if (g_v.has_value()) grad_v_seq = torch::stable::contiguous(*g_v);
    io.grad_state_last = grad_state_last ? grad_state_last->const_data_ptr() : nullptr;
    io.grad_v_seq = grad_v_seq ? grad_v_seq->const_data_ptr() : nullptr;
    io.grad_x_seq = grad_x_seq.mutable_data_ptr();
    io.grad_state_init = want_state ? grad_state_init.mutable_data_ptr() : nullptr;
  }
};

}  // namespace snn
