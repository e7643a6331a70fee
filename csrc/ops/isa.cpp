#include "ops/isa.h"

#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <atomic>

namespace snn {

const NeuronKernels* neuron_kernels_baseline();
const CountKernels* count_kernels_baseline();
#if defined(SNN_HAS_AVX2)
const NeuronKernels* neuron_kernels_avx2();
const NeuronKernels* neuron_kernels_avx512();
const CountKernels* count_kernels_avx2();
const CountKernels* count_kernels_avx512();
#endif

namespace {

bool always() { return true; }
#if defined(SNN_HAS_AVX2)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
#endif

}  // namespace

const Isa kIsas[] = {
    {"default", always, neuron_kernels_baseline, count_kernels_baseline},
#if defined(SNN_HAS_AVX2)
    {"avx2", has_avx2, neuron_kernels_avx2, count_kernels_avx2},
    {"avx512", has_avx512, neuron_kernels_avx512, count_kernels_avx512},
#endif
};
const int kIsaCount = int(sizeof(kIsas) / sizeof(kIsas[0]));

namespace {

// The best supported set, or the one an environment variable asks for: ours first, then torch's own.
int initial_isa() {
  int best = 0;
  for (int i = 0; i < kIsaCount; ++i)
    if (kIsas[i].supported()) best = i;
  for (const char* variable : {"SNNCORE_CPU_CAPABILITY", "ATEN_CPU_CAPABILITY"}) {
    const char* wanted = getenv(variable);
    for (int i = 0; wanted && i < kIsaCount; ++i)
      if (strcmp(wanted, kIsas[i].name) == 0 && kIsas[i].supported()) return i;
  }
  return best;
}

std::atomic<int>& isa_index() {
  static std::atomic<int> index{initial_isa()};
  return index;
}

int64_t round_lanes(int64_t lanes, int64_t least, int64_t most) { return std::clamp(lanes / 64 * 64, least, most); }

}  // namespace

const Isa& current_isa() { return kIsas[isa_index().load(std::memory_order_relaxed)]; }

bool set_isa(const char* name) {
  for (int i = 0; i < kIsaCount; ++i) {
    if (strcmp(name, kIsas[i].name) == 0 && kIsas[i].supported()) {
      isa_index().store(i);
      return true;
    }
  }
  return false;
}

// Measured (docs/measurements.md): rows of 8 KiB, and h of a whole tile well inside L2.
constexpr int64_t kRowBytes = 8192, kKeptBytes = 256 << 10;

int64_t forward_tile_lanes(int64_t real_bytes) { return kRowBytes / real_bytes; }

int64_t backward_tile_lanes(int64_t T, int64_t states, int64_t real_bytes) {
  return round_lanes(kKeptBytes / (std::max<int64_t>(T, 1) * states * real_bytes), 64, kRowBytes / real_bytes);
}

int64_t stream_threshold_bytes() { return 8 << 20; }

int64_t scratch_rows(int64_t T, int64_t states, int64_t params, int64_t fires, bool backward) {
  const int64_t param_rows = params + 2, buffers = 5;  // v_threshold, own parameters, alpha
  return backward ? (3 + T) * states + 2 * param_rows + 4 * fires + buffers : states + param_rows + fires + buffers;
}

}  // namespace snn
