// Tensors [T, N] as the time loop sees them on the device: the `Io` of core/time_loop.h for the lanes of one thread.
#pragma once

#include <type_traits>

#include "ops/cuda/counts.h"
#include "ops/cuda/lanes.h"

namespace snn {

// A tensor [T, N] at this thread's first lane.
template <class Byte>
struct ThreadRows {
  Byte* base;
  int64_t step;  // bytes between two steps
  SNN_DEVICE Byte* at(int64_t t) const { return base + t * step; }
};

template <class Real, class Void>
SNN_DEVICE auto thread_rows(Void* tensor, int64_t stride, int bytes, const ThreadLanes<Real>& lanes) {
  using Byte = std::conditional_t<std::is_const_v<Void>, const char, char>;
  return ThreadRows<Byte>{tensor ? static_cast<Byte*>(tensor) + lanes.first * bytes : nullptr, stride * bytes};
}

template <class Real>
struct ForwardStream {
  static constexpr int strip = kThreadLanes<Real>;
  static constexpr bool whole = true;
  struct Order {
    ThreadRows<const char> x;
    int64_t t, T;
    SNN_DEVICE const char* next() { return t < T ? x.at(t++) : nullptr; }
  };

  ThreadLanes<Real> lanes;
  Ring<Real> ring;
  Order order;
  ThreadRows<char> spikes;
  Real* v_base;  // whole rows
  SampleCounts<Real> counts;
  Real x_now[strip], out_now[strip], v_now[strip];

  SNN_DEVICE ForwardStream(const ThreadLanes<Real>& l, const NeuronArgs& a, const ForwardOut& out)
      : lanes(l),
        ring(Codec<Real>{a.dtype}),
        order{thread_rows(a.x_seq, a.x_stride, ring.codec.bytes(), l), 0, a.T},
        spikes(thread_rows(out.spike_seq, a.N, ring.codec.bytes(), l)),
        v_base(static_cast<Real*>(out.v_seq)),
        counts(l, out) {
    ring.start(lanes, order);
  }
  SNN_DEVICE const Real* x(int64_t, int, int) {
    ring.take(lanes, order, x_now);
    return x_now;
  }
  SNN_DEVICE Real* spike(int64_t, int) { return out_now; }
  SNN_DEVICE void put_spike(int64_t t, int, int) {
    lanes.put(ring.codec, spikes.at(t), out_now);
    if (!counts.out) return;
    unsigned nonzero = ring.codec.nonzero(out_now);
    SNN_LANES
    for (int i = 0; i < strip; ++i) nonzero &= ~(unsigned(!lanes.inside(i)) << i);
    counts.add(t, lanes, nonzero);
  }
  SNN_DEVICE bool wants_v_seq() const { return v_base != nullptr; }
  SNN_DEVICE Real* v_seq(int64_t, int) { return v_now; }
  SNN_DEVICE void put_v_seq(int64_t t, int, int) { lanes.store(v_base + t * lanes.N, v_now); }
};

// The rows that backward takes, in its order: x forward through all steps; then chunk by chunk from the last one, x
// forward through it again (the last one was just run) and grad_spike, with x where it is needed again, back.
template <bool kAgain>
struct BackwardOrder {
  ThreadRows<const char> x, grad_spike;
  int64_t chunk;          // steps of a chunk
  int64_t t, begin, end;  // of the chunk at hand; end == 0: done
  bool back, second;

  SNN_DEVICE const char* next() {
    if (end == 0) return nullptr;
    if (!back) {
      const char* at = x.at(t++);
      if (t == end) {
        back = true;
        --t;
      }
      return at;
    }
    if (kAgain && !second) {
      second = true;
      return gradient();
    }
    const char* at = kAgain ? x.at(t) : gradient();
    second = false;
    if (t-- > begin) return at;
    end = begin;
    begin = begin > chunk ? begin - chunk : 0;
    t = begin;
    back = false;
    return at;
  }

 private:
  // Without a gradient of the spikes a row of x takes its place, so that the order is the same.
  SNN_DEVICE const char* gradient() const { return grad_spike.base ? grad_spike.at(t) : x.at(t); }
};

template <class Real, bool kAgain>
struct BackwardStream {
  static constexpr int strip = kThreadLanes<Real>;
  static constexpr bool whole = true;
  ThreadLanes<Real> lanes;
  Ring<Real> ring;
  BackwardOrder<kAgain> order;
  ThreadRows<char> grads;
  const Real* grad_v_base;  // whole rows
  int64_t begin;            // of the chunk that the time loop runs over
  Real x_now[strip], out_now[strip], grad_now[strip], grad_v_now[strip];

  SNN_DEVICE BackwardStream(const ThreadLanes<Real>& l, const NeuronArgs& a, const BackwardIo& b, int64_t chunk,
                            int64_t last)
      : lanes(l),
        ring(Codec<Real>{a.dtype}),
        order{thread_rows(a.x_seq, a.x_stride, ring.codec.bytes(), l),
              thread_rows(b.grad_spike_seq, b.grad_spike_stride, ring.codec.bytes(), l),
              chunk,
              0,
              last,
              a.T,
              false,
              false},
        grads(thread_rows(b.grad_x_seq, a.N, ring.codec.bytes(), l)),
        grad_v_base(static_cast<const Real*>(b.grad_v_seq)),
        begin(0) {
    ring.start(lanes, order);
  }

  SNN_DEVICE const Real* x(int64_t, int, int) {
    ring.take(lanes, order, x_now);
    return x_now;
  }
  SNN_DEVICE const Real* x_again(int64_t, int, int) { return x(0, 0, 0); }
  SNN_DEVICE const Real* grad_spike(int64_t, int, int) {
    ring.take(lanes, order, grad_now);
    SNN_LANES
    for (int i = 0; i < strip; ++i) grad_now[i] = order.grad_spike.base ? grad_now[i] : Real(0);
    return grad_now;
  }
  SNN_DEVICE bool has_grad_v_seq() const { return grad_v_base != nullptr; }
  SNN_DEVICE const Real* grad_v_seq(int64_t t, int, int) {
    lanes.load(grad_v_base + (begin + t) * lanes.N, grad_v_now);
    return grad_v_now;
  }
  SNN_DEVICE Real* grad_x(int64_t, int) { return out_now; }
  SNN_DEVICE void put_grad_x(int64_t t, int, int) { lanes.put(ring.codec, grads.at(begin + t), out_now); }

  // For the run forward to the last chunk, of which only the states are wanted.
  SNN_DEVICE Real* spike(int64_t, int) { return out_now; }
  SNN_DEVICE void put_spike(int64_t, int, int) {}
  SNN_DEVICE bool wants_v_seq() const { return false; }
  SNN_DEVICE Real* v_seq(int64_t, int) { return out_now; }
  SNN_DEVICE void put_v_seq(int64_t, int, int) {}
};

}  // namespace snn
