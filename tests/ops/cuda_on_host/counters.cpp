// The CUDA kernels of the counting ops, emulated, against the CPU kernels on random calls: the same integers.
//   counters [cases] [seed]
#include <math.h>

#include <algorithm>

#include "ops/cuda/counters.cu"
#include "ops/sop_kernels.cpp"
#include "random_memory.h"

namespace snn {
namespace {

int element_bytes(DType dtype) { return dtype == DType::kDouble ? 8 : dtype == DType::kFloat ? 4 : 2; }

// Rows of different kinds: spikes, ternary, integers, graded, and what no counter can count.
double value(Random& random, int kind) {
  if (kind < 5 && random.chance(60)) return 0;
  switch (kind) {
    case 0:
      return 1;
    case 1:
      return random.chance(50) ? 1 : -1;
    case 2:
      return double(random.below(9) - 4);
    case 3:
      return random.chance(5) ? -4194304 : random.chance(50) ? -0.0 : 1;
    case 4:
      return random.uniform(-2, 2);
    default: {
      static const double kOdd[] = {NAN, INFINITY, -INFINITY, 4194306, 1e30, 0.5, 1e-30};
      return random.chance(1) ? random.one_of(kOdd) : 1;
    }
  }
}

bool same(uint64_t seed, const char* what, const std::vector<int64_t>& want, const std::vector<int64_t>& got) {
  for (size_t i = 0; i < want.size(); ++i) {
    if (want[i] == got[i]) continue;
    fprintf(stderr, "case %llu: %s [%zu] must be %lld, got %lld\n", static_cast<unsigned long long>(seed), what, i,
            static_cast<long long>(want[i]), static_cast<long long>(got[i]));
    return false;
  }
  return true;
}

bool check_rows(uint64_t seed) {
  static const int64_t kLanes[] = {1, 2, 3, 7, 8, 15, 16, 17, 31, 64, 100, 129, 1000, 2048, 2049, 9001, 17000};
  Random random{seed};
  CountArgs a{};
  a.dtype = DType(random.below(4));
  const int bytes = element_bytes(a.dtype);
  a.lanes = random.one_of(kLanes);
  const int64_t rows = 1 + random.below(a.lanes > 3000 ? 3 : 40);
  Memory x(rows * a.lanes, bytes, random.chance(50) ? random.below(8) : 0);
  for (int64_t r = 0; r < rows; ++r) {
    const int kind = int(random.below(6));
    for (int64_t i = 0; i < a.lanes; ++i) put(a.dtype, x.get() + (r * a.lanes + i) * bytes, value(random, kind));
  }
  a.x = x.get();
  a.period = random.chance(50) ? a.lanes : 1 + random.below(a.lanes);
  while (a.lanes % a.period != 0) --a.period;
  const bool fan = random.chance(70), eff = fan && random.chance(60);
  if (!fan) a.period = a.lanes;
  Memory maps[2] = {{a.period, 4}, {a.period, 4}};
  const int64_t largest = random.chance(30) ? INT32_MAX : 5000;
  for (Memory& m : maps)
    for (int64_t i = 0; i < a.period; ++i) {
      const int32_t number = int32_t(random.below(largest));
      memcpy(m.get() + i * 4, &number, 4);
    }
  a.fan = fan ? reinterpret_cast<const int32_t*>(maps[0].get()) : nullptr;
  a.eff = eff ? reinterpret_cast<const int32_t*>(maps[1].get()) : nullptr;
  a.block = largest > 5000 ? 1 : 2048;
  std::vector<int64_t> want(size_t(rows * Counts::kColumns)), got(want.size());
  a.out = want.data();
  count_kernels_baseline()->rows[a.dtype == DType::kDouble](a, 0, rows);
  a.out = got.data();
  count_rows_on_device(a, rows, nullptr);
  return same(seed, "spike_count", want, got);
}

bool check_overlap(uint64_t seed) {
  Random random{~seed};
  OverlapArgs a{};
  a.left_dtype = DType(random.below(4));
  a.right_dtype = random.chance(50) ? a.left_dtype : DType(random.below(4));
  a.batch = 1 + random.below(4);
  a.M = random.below(20);
  a.N = random.below(20);
  a.K = random.below(100);
  const auto operand = [&](DType dtype, int64_t rows) -> const void* {
    auto memory = std::make_unique<Memory>(a.batch * rows * a.K, element_bytes(dtype));
    const int kind = int(random.below(6));
    for (int64_t i = 0; i < a.batch * rows * a.K; ++i)
      put(dtype, memory->get() + i * element_bytes(dtype), value(random, kind));
    static std::vector<std::unique_ptr<Memory>> owned;
    owned.push_back(std::move(memory));
    if (owned.size() > 2) owned.erase(owned.begin());
    return owned.back()->get();
  };
  a.left = operand(a.left_dtype, a.M);
  a.right = operand(a.right_dtype, a.N);
  std::vector<int64_t> want, got(size_t(a.batch * 3));
  for (int64_t b = 0; b < a.batch; ++b) {
    std::vector<int32_t> l(size_t(a.K)), r(size_t(a.K));
    const auto at = [&](const void* p, DType dtype, int64_t rows) {
      return static_cast<const char*>(p) + b * rows * a.K * element_bytes(dtype);
    };
    const auto& columns = count_kernels_baseline()->columns;
    columns[a.left_dtype == DType::kDouble](at(a.left, a.left_dtype, a.M), a.left_dtype, a.M, a.K, l.data());
    columns[a.right_dtype == DType::kDouble](at(a.right, a.right_dtype, a.N), a.right_dtype, a.N, a.K, r.data());
    int64_t sums[3] = {};
    for (size_t k = 0; k < l.size(); ++k) {
      sums[0] += int64_t(l[k]) * r[k];
      sums[1] += l[k];
      sums[2] += r[k];
    }
    want.insert(want.end(), sums, sums + 3);
  }
  a.out = got.data();
  overlap_on_device(a, nullptr);
  return same(seed, "overlap_count", want, got);
}

}  // namespace
}  // namespace snn

int main(int count, char** arguments) {
  const uint64_t cases = count > 1 ? strtoull(arguments[1], nullptr, 10) : 500;
  const uint64_t first = count > 2 ? strtoull(arguments[2], nullptr, 10) : 1;
  int failed = 0;
  for (uint64_t seed = first; seed < first + cases && failed < 10; ++seed)
    failed += !snn::check_rows(seed) + !snn::check_overlap(seed);
  if (failed > 0) return 1;
  printf("%llu cases, %lld blocks\n", static_cast<unsigned long long>(cases),
         static_cast<long long>(snn::Emulation::get().blocks_run));
}
