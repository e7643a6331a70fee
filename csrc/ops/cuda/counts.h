// Counting spikes per step and sample while they are written: votes inside a warp, then one addition to memory for each
// sample the warp holds lanes of.
#pragma once

#include "ops/cuda/lanes.h"

namespace snn {

constexpr int kWarp = 32;

template <class Real>
struct SampleCounts {
  static constexpr int V = kThreadLanes<Real>;
  int64_t* out;  // [T, samples], nullptr: nobody asks
  int64_t samples, sample_lanes;
  int64_t only;      // the sample all lanes of this warp belong to, or -1
  int stride;        // lanes between neighbouring threads
  unsigned threads;  // of this warp that hold lanes: all of them, or the first ones

  SNN_DEVICE SampleCounts(const ThreadLanes<Real>& lanes, const ForwardOut& to)
      : out(to.spike_count), samples(to.samples), sample_lanes(1), only(-1), stride(lanes.wide ? V : 1), threads(0) {
    if (!out) return;
    sample_lanes = lanes.N / samples;
    const int64_t first = lanes.first - int64_t(thread()) * stride;
    const int64_t wanted = (lanes.N - first + stride - 1) / stride;
    const int active = wanted < kWarp ? int(wanted) : kWarp;
    threads = ~0u >> (kWarp - active);
    const int64_t last = minimum(first + int64_t(active - 1) * stride + int64_t(V - 1) * lanes.step, lanes.N - 1);
    if (first / sample_lanes == last / sample_lanes) only = first / sample_lanes;
  }

  // Lane i of this thread is not zero: bit i. All threads of the warp that hold lanes come here together.
  SNN_DEVICE void add(int64_t t, const ThreadLanes<Real>& lanes, unsigned nonzero) const {
    int64_t* to = out + t * samples;
    if (only < 0) return add_each(to, lanes, nonzero);
    int sum = 0;
    SNN_LANES
    for (int i = 0; i < V; ++i) sum += count_bits(ballot(threads, nonzero >> i & 1));
    if (thread() == 0 && sum > 0) atomic_add(to + only, sum);
  }

 private:
  SNN_DEVICE static int thread() { return int(threadIdx.x % kWarp); }

  // Sample by sample, from that of the first thread whose spike is not counted yet.
  SNN_DEVICE void add_each(int64_t* to, const ThreadLanes<Real>& lanes, unsigned nonzero) const {
    for (int i = 0; i < V; ++i) {
      const bool mine = nonzero >> i & 1;
      const int64_t lane = lanes.lane(i);
      for (unsigned left = ballot(threads, mine); left != 0;) {
        const int leader = first_bit(left);
        const int64_t sample = (lane + int64_t(leader - thread()) * stride) / sample_lanes;  // one for all threads
        const int64_t begin = sample * sample_lanes;
        const unsigned found = ballot(threads, mine && lane >= begin && lane < begin + sample_lanes);
        if (thread() == leader) atomic_add(to + sample, count_bits(found));
        left &= ~found;
      }
    }
  }
};

}  // namespace snn
