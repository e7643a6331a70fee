// The CUDA kernels, emulated, against the CPU kernels on random calls: the same bits, but for sums over lanes.
//   main [cases] [seed]
#include <math.h>

#include <algorithm>

// Both engines in one program.
#include "ops/cuda/neurons.cu"
#include "ops/cuda/sums.cu"
#include "ops/neuron_kernels.cpp"
#include "random_memory.h"

namespace snn {
namespace {

const NeuronKernels& cpu() { return *neuron_kernels_baseline(); }

struct Facts {
  int states, params, constants, fires;
};
template <class... N>
Facts facts_of(NeuronList<N...>, int which) {
  const Facts all[] = {{N::states, N::params, N::constants, N::fires}...};
  return all[which];
}

class Case {
 public:
  explicit Case(uint64_t seed) : random_{seed}, seed_(seed) {
    static const int64_t kSizes[] = {1,   2,   3,   4,   6,   8,   12,  30,  31,   64,
                                     100, 127, 128, 129, 252, 512, 514, 780, 1030, 2064};
    static const int64_t kSteps[] = {0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 33, 64};
    static const DType kTypes[] = {DType::kFloat, DType::kDouble, DType::kBFloat16, DType::kHalf};
    a_.T = random_.one_of(kSteps);
    a_.N = random_.one_of(kSizes);
    if (a_.N > 600 && a_.T > 16) a_.T = 16;
    a_.dtype = random_.one_of(kTypes);
    neuron_ = int(random_.below(Neurons::size));
    facts_ = facts_of(Neurons{}, neuron_);
    real_ = a_.dtype == DType::kDouble ? DType::kDouble : DType::kFloat;
    element_ = a_.dtype == DType::kDouble ? 8 : a_.dtype == DType::kFloat ? 4 : 2;
    real_bytes_ = a_.dtype == DType::kDouble ? 8 : 4;
    choose_dynamics();
    choose_device();
    choose_x(a_.x_seq, a_.x_stride);
  }

  bool check() { return check_forward() && check_backward(); }

 private:
  char* memory(int64_t count, int bytes, int64_t skip = 0) {
    owned_.push_back(std::make_unique<Memory>(count, bytes, skip));
    return owned_.back()->get();
  }
  char* filled(DType dtype, int bytes, int64_t count, double low, double high, int64_t skip = 0) {
    char* to = memory(count, bytes, skip);
    for (int64_t i = 0; i < count; ++i) put(dtype, to + i * bytes, random_.uniform(low, high));
    return to;
  }
  int64_t slip() { return random_.chance(25) ? random_.below(4) : 0; }
  char* states(double low, double high) { return filled(real_, real_bytes_, facts_.states * a_.N, low, high, slip()); }

  void choose_x(const void*& base, int64_t& stride) {
    const int64_t strides[] = {a_.N, a_.N, a_.N, a_.N + 1, a_.N + 4, 0};
    stride = random_.one_of(strides);
    const int64_t count = a_.T > 0 ? (a_.T - 1) * stride + a_.N : 0;
    base = filled(a_.dtype, element_, count, -0.6, 1.4, slip());
  }

  void choose_dynamics() {
    numbers_.clear();
    for (int k = 0; k < facts_.states; ++k) numbers_.push_back(random_.uniform(-0.2, 0.2));
    numbers_.push_back(0.75);
    for (int k = 0; k < facts_.params; ++k) numbers_.push_back(random_.uniform(0.3, 0.9));
    for (int k = 0; k < facts_.constants; ++k) numbers_.push_back(double(random_.below(2)));
    a_.state_rest = numbers_.data();
    a_.numbers = numbers_.data() + facts_.states;
    a_.v_reset = random_.uniform(-0.3, 0.1);
    a_.reset = random_.below(3);
    a_.detach_reset = random_.chance(30);
    a_.detach_state = random_.chance(15);
    a_.smooth = a_.dtype == DType::kDouble && random_.chance(40);
    a_.surrogate = random_.below(Surrogates::size);
    a_.surrogate_a = random_.uniform(1.2, 3);
    a_.surrogate_b = random_.uniform(0.5, 2);
    a_.state_init = random_.chance(50) ? states(-0.5, 0.8) : nullptr;
    choose_params();
  }

  int64_t divisor() {
    int64_t d = 1 + random_.below(a_.N);
    while (a_.N % d != 0) --d;
    return d;
  }

  void choose_params() {
    a_.channels = a_.inner = 1;
    if (random_.chance(35)) return;
    a_.has_alpha = random_.chance(40);
    std::vector<int64_t> divisors;
    for (int64_t d = 1; d <= a_.N; ++d)
      if (a_.N % d == 0) divisors.push_back(d);
    if (random_.chance(60)) {
      const auto any = [&](const std::vector<int64_t>& v) { return v[size_t(random_.below(int64_t(v.size())))]; };
      a_.channels = any(divisors);
      std::vector<int64_t> rest;
      for (int64_t d : divisors)
        if ((a_.N / a_.channels) % d == 0) rest.push_back(d);
      a_.inner = any(rest);
    }
    rows_ = 1 + facts_.params + a_.has_alpha;
    char* to = memory(rows_ * a_.channels, real_bytes_);
    for (int64_t k = 0; k < rows_; ++k) {
      const bool alpha = k == 1 + facts_.params;
      for (int64_t c = 0; c < a_.channels; ++c)
        put(real_, to + (k * a_.channels + c) * real_bytes_, random_.uniform(alpha ? 1.2 : 0.4, alpha ? 3 : 0.9));
    }
    a_.params = to;
  }

  // Small devices, so that all block sizes, chunks of steps and strides of the grid come up.
  void choose_device() {
    static const int kShared[] = {8, 12, 16, 32, 64, 228};
    const int shared = random_.one_of(kShared) * 1024;
    device_ = {int(1 + random_.below(4)), 2048, shared, int64_t(1) << (9 + random_.below(8)), shared - 1024, 0};
    Emulation::get().resident = int(1 + random_.below(3));
  }

  std::vector<char> scratch(bool backward) const {
    const int64_t tile =
        backward ? backward_tile_lanes(a_.T, facts_.states, real_bytes_) : forward_tile_lanes(real_bytes_);
    const int64_t rows = scratch_rows(a_.T, facts_.states, facts_.params, facts_.fires, backward);
    return std::vector<char>(size_t(rows * (tile * real_bytes_ + 64) + 64));
  }
  static void* aligned(std::vector<char>& v) { return v.data() + (-reinterpret_cast<intptr_t>(v.data()) & 63); }

  bool same(const char* what, const void* want, const void* got, int64_t bytes) {
    if (bytes == 0 || memcmp(want, got, size_t(bytes)) == 0) return true;
    int64_t at = 0;
    while (static_cast<const char*>(want)[at] == static_cast<const char*>(got)[at]) ++at;
    return report(what, at);
  }
  bool report(const char* what, int64_t at) {
    fprintf(stderr,
            "case %llu: %s differs at byte or number %lld: neuron %d, T=%lld, N=%lld, dtype %d, channels %lld, inner "
            "%lld, x_stride %lld, reset %lld, surrogate %lld, smooth %d, alpha %d\n",
            static_cast<unsigned long long>(seed_), what, static_cast<long long>(at), neuron_,
            static_cast<long long>(a_.T), static_cast<long long>(a_.N), int(a_.dtype),
            static_cast<long long>(a_.channels), static_cast<long long>(a_.inner), static_cast<long long>(a_.x_stride),
            static_cast<long long>(a_.reset), static_cast<long long>(a_.surrogate), a_.smooth, a_.has_alpha);
    return false;
  }

  bool check_forward() {
    const int64_t seq = a_.T * a_.N;
    const bool keep_state = random_.chance(70), keep_v = random_.chance(40);
    const int64_t samples = random_.chance(50) ? divisor() : 0;
    ForwardOut out[2];
    for (ForwardOut& o : out) {
      o = {memory(seq, element_),
           keep_state ? memory(facts_.states * a_.N, real_bytes_) : nullptr,
           keep_v ? memory(seq, real_bytes_) : nullptr,
           samples > 0 ? reinterpret_cast<int64_t*>(memory(a_.T * samples, 8)) : nullptr,
           samples};
      if (samples > 0) memset(o.spike_count, 0, size_t(a_.T * samples * 8));
    }
    auto space = scratch(false);
    cpu().forward[neuron_][real_ == DType::kDouble](a_, out[0], 0, a_.N, aligned(space));
    kernels().forward(a_, out[1], device_, nullptr);
    return same("spike_seq", out[0].spike_seq, out[1].spike_seq, seq * element_) &&
           same("state_last", out[0].state_last, out[1].state_last, keep_state * facts_.states * a_.N * real_bytes_) &&
           same("v_seq", out[0].v_seq, out[1].v_seq, keep_v * seq * real_bytes_) &&
           same("spike_count", out[0].spike_count, out[1].spike_count, a_.T * samples * 8) &&
           (samples == 0 || counted(out[1]));
  }

  // The sum of the counts, taken from the spikes.
  bool counted(const ForwardOut& out) {
    int64_t want = 0, got = 0;
    for (int64_t i = 0; i < a_.T * out.samples; ++i) got += out.spike_count[i];
    for (int64_t i = 0; i < a_.T * a_.N; ++i) {
      const char* at = static_cast<const char*>(out.spike_seq) + i * element_;
      uint16_t bits = 0;
      if (element_ == 2) memcpy(&bits, at, 2);
      want += element_ == 2 ? (bits & 0x7fff) != 0 : real_at(out.spike_seq, i) != 0;
    }
    counted_spikes += got;
    return want == got || report("the sum of spike_count", got - want);
  }

  bool check_backward() {
    const int64_t seq = a_.T * a_.N;
    BackwardIo io[2] = {};
    const bool want_state = random_.chance(60), want_params = a_.params && random_.chance(70);
    if (random_.chance(85)) choose_x(io[0].grad_spike_seq, io[0].grad_spike_stride);
    if (random_.chance(50)) io[0].grad_state_last = states(-1, 1);
    if (random_.chance(30)) io[0].grad_v_seq = filled(real_, real_bytes_, seq, -1, 1, slip());
    io[1] = io[0];
    for (BackwardIo& b : io) {
      b.grad_x_seq = memory(seq, element_);
      b.grad_state_init = want_state ? memory(facts_.states * a_.N, real_bytes_) : nullptr;
    }
    std::vector<double> want, got;
    backward_on_host(io[0], want_params, want);
    backward_on_device(io[1], want_params, got);
    return same("grad_x_seq", io[0].grad_x_seq, io[1].grad_x_seq, seq * element_) &&
           same("grad_state_init", io[0].grad_state_init, io[1].grad_state_init,
                want_state * facts_.states * a_.N * real_bytes_) &&
           close("grad_params", want, got);
  }

  bool close(const char* what, const std::vector<double>& want, const std::vector<double>& got) {
    double largest = 0;
    for (double w : want) largest = std::max(largest, fabs(w));
    const double rounding = real_ == DType::kDouble ? 1e-14 : 3e-7;
    for (size_t i = 0; i < want.size(); ++i) {
      if (want[i] == got[i] || (isnan(want[i]) && isnan(got[i]))) continue;
      if (!(fabs(want[i] - got[i]) <= rounding * fabs(want[i]) + 1e-11 * largest)) {
        fprintf(stderr, "%.17g, got %.17g: ", want[i], got[i]);
        return report(what, int64_t(i));
      }
    }
    return true;
  }

  double real_at(const void* p, int64_t i) const {
    return real_ == DType::kDouble ? static_cast<const double*>(p)[i] : double(static_cast<const float*>(p)[i]);
  }

  void backward_on_host(BackwardIo& io, bool want_params, std::vector<double>& sums) {
    const int64_t tile = backward_tile_lanes(a_.T, facts_.states, real_bytes_), tiles = (a_.N + tile - 1) / tile;
    const bool per_lane = a_.channels > 1;
    if (want_params) io.grad_params = memory(rows_ * (per_lane ? a_.N : tiles), per_lane ? real_bytes_ : 8);
    auto space = scratch(true);
    for (int64_t lane = 0; lane < a_.N; lane += tile)
      cpu().backward[neuron_][real_ == DType::kDouble](a_, io, lane, std::min(a_.N, lane + tile), aligned(space));
    if (!want_params) return;
    sums.assign(size_t(rows_ * a_.channels), 0.0);
    for (int64_t k = 0; k < rows_; ++k) {
      if (per_lane) {
        for (int64_t i = 0; i < a_.N; ++i)
          sums[size_t(k * a_.channels + i / a_.inner % a_.channels)] += real_at(io.grad_params, k * a_.N + i);
      } else {
        for (int64_t i = 0; i < tiles; ++i) sums[size_t(k)] += static_cast<double*>(io.grad_params)[k * tiles + i];
      }
    }
  }

  void backward_on_device(BackwardIo& io, bool want_params, std::vector<double>& sums) {
    const BackwardPlan plan = kernels().plan_backward(a_, want_params, device_);
    char* checkpoints = memory(plan.checkpoint_bytes(facts_.states), 1);
    SumShape shape{rows_, a_.N, a_.channels, a_.inner, plan.grid};
    const bool per_lane = a_.channels > 1;
    if (per_lane) {
      shape.splits = channel_splits(shape.N, shape.columns(), device_);
    } else {
      shape.inner = 1;
    }
    char* lanes = memory(want_params && per_lane ? rows_ * a_.N : 0, real_bytes_);
    double* partial = reinterpret_cast<double*>(memory(rows_ * shape.splits * shape.columns(), 8));
    if (want_params) io.grad_params = per_lane ? lanes : reinterpret_cast<char*>(partial);
    kernels().backward(a_, io, plan, checkpoints, nullptr);
    chunked += plan.chunks > 1;
    if (!want_params) return;
    char* out = memory(rows_ * a_.channels, real_bytes_);
    if (per_lane) sum_lanes(a_.dtype, shape, lanes, partial, nullptr);
    sum_partials(a_.dtype, shape, partial, out, nullptr);
    for (int64_t i = 0; i < rows_ * a_.channels; ++i) sums.push_back(real_at(out, i));
  }

  const CudaKernels& kernels() const { return *cuda_kernels_part<0>(neuron_, real_ == DType::kDouble); }

  Random random_;
  uint64_t seed_;
  NeuronArgs a_{};
  int neuron_ = 0, element_ = 0, real_bytes_ = 0;
  int64_t rows_ = 0;
  DType real_ = DType::kFloat;
  Facts facts_{};
  std::vector<double> numbers_;
  DeviceFacts device_{};
  std::vector<std::unique_ptr<Memory>> owned_;

 public:
  static int chunked;
  static int64_t counted_spikes;
};

int Case::chunked = 0;
int64_t Case::counted_spikes = 0;

}  // namespace
}  // namespace snn

int main(int count, char** arguments) {
  const uint64_t cases = count > 1 ? strtoull(arguments[1], nullptr, 10) : 2000;
  const uint64_t first = count > 2 ? strtoull(arguments[2], nullptr, 10) : 1;
  int failed = 0;
  for (uint64_t seed = first; seed < first + cases && failed < 10; ++seed) failed += !snn::Case(seed).check();
  if (failed > 0) return 1;
  if (cases > 100 && snn::Case::chunked == 0) return fprintf(stderr, "no case needed chunks of steps\n"), 1;
  if (cases > 100 && snn::Case::counted_spikes == 0) return fprintf(stderr, "no spike was counted\n"), 1;
  printf("%llu cases, %d of them in chunks of steps, %lld blocks\n", static_cast<unsigned long long>(cases),
         snn::Case::chunked, static_cast<long long>(snn::Emulation::get().blocks_run));
}
