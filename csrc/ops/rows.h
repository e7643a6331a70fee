// Tensors as rows of lanes, for one copy of the CPU kernels: scratch rows, rows read, rows written.
//
// In an anonymous namespace: every instruction set compiles its own copy, and none may be shared (neuron_kernels.cpp).
#pragma once

#include "core/time_loop.h"
#include "ops/elements.h"
#include "ops/nonzero.h"

namespace snn {
namespace {

template <class Real>
SNN_ROW_FUNCTION void fill(Real* row, Real value, int n) {
  for (int i = 0; i < n; ++i) row[i] = value;
}

template <class Real>
SNN_ROW_FUNCTION void copy(const Real* from, Real* to, int n) {
  for (int i = 0; i < n; ++i) to[i] = from[i];
}

SNN_ROW_FUNCTION void stream_row(const void* from, void* to, int64_t bytes) { stream_bytes(from, to, bytes); }
SNN_ROW_FUNCTION void prefetch_row(const void* from, int64_t bytes) {
  prefetch_bytes(from, bytes);
  asm volatile("");  // a function without any effect but prefetching counts as one without effect: its calls vanish
}

// Hands out rows of scratch memory, 64 bytes further apart than their length so that rows do not share cache sets.
template <class Real>
struct Scratch {
  Real* next;
  int64_t stride;
  Rows<Real> rows(int64_t k) {
    const Rows<Real> r{next, stride};
    next += k * stride;
    return r;
  }
  Real* row() { return rows(1).data; }
};

// A tensor [T, N] read row by row; the same memory where no conversion is needed.
template <class Real>
struct Reader {
  const void* base;
  int64_t stride;  // elements between two steps
  Elements<Real> elements;
  Real* buffer;

  const char* at(int64_t t, int64_t lane) const {
    return static_cast<const char*>(base) + (t * stride + lane) * elements.bytes;
  }
  const Real* row(int64_t t, int64_t lane, int n) const {
    if (!elements.decode) return reinterpret_cast<const Real*>(at(t, lane));
    elements.decode(at(t, lane), buffer, n);
    return buffer;
  }
  // Asks for a row that is read next: rows of one tile lie far apart, where no hardware prefetcher looks.
  void prefetch(int64_t t, int64_t lane, int n) const { prefetch_row(at(t, lane), n * elements.bytes); }
};

// A tensor [T, N] written row by row, past the caches if `stream`.
template <class Real>
struct Writer {
  void* base;
  int64_t stride;
  Elements<Real> elements;
  bool stream;
  Real* buffer;
  void* encoded;  // where a half row waits to be streamed

  char* at(int64_t t, int64_t lane) const { return static_cast<char*>(base) + (t * stride + lane) * elements.bytes; }
  Real* row(int64_t t, int64_t lane) const {
    return elements.encode || stream ? buffer : reinterpret_cast<Real*>(at(t, lane));
  }
  void put(int64_t t, int64_t lane, int n) const {
    if (elements.encode) elements.encode(buffer, stream ? encoded : at(t, lane), n);
    if (stream) stream_row(elements.encode ? encoded : buffer, at(t, lane), n * elements.bytes);
  }
};

// Writes spikes and counts those that are not zero, per step and sample; ForwardOut says what `out` is.
template <class Real>
struct CountingWriter {
  Writer<Real> writer;
  int64_t* out;
  int64_t samples, lanes;                 // of a sample
  int64_t range_begin, range_end;         // lanes of this thread
  int64_t begin = 0, end = 0, first = 0;  // lanes of the tile, and the sample its first lane belongs to
  int64_t sample = 0, until = 0;          // how far the row has come
  Tally<Real> reals{};
  Tally<uint16_t> halves{};

  template <class Element>
  auto& tally() {
    if constexpr (sizeof(Element) == 2)
      return halves;
    else
      return reals;
  }

  void start_tile(int64_t lane, int n) {
    begin = lane;
    end = lane + n;
    first = lane / lanes;
  }

  // The sample at hand is complete, as far as it lies in this tile. One that begins or ends outside the range belongs
  // to other threads too. An atomic addition waits until all that was streamed has arrived, so there are as few as can
  // be.
  void finish_sample(int64_t t, int64_t sum) {
    int64_t* to = out + t * samples + sample;
    if (until - lanes >= range_begin && until <= range_end) {
      *to += sum;
    } else {
      __atomic_fetch_add(to, sum, __ATOMIC_RELAXED);
    }
    ++sample;
    until += lanes;
  }

  using Put = void (*)(CountingWriter&, int64_t t, int64_t lane, int n);
  Put put() const;
};

constexpr int kForwardStrip = 128;

// Writer::put, counted: of elements that are Real or half.
template <class Real, class Element>
SNN_ROW_FUNCTION void put_counted(CountingWriter<Real>& c, int64_t t, int64_t lane, int n) {
  const Writer<Real>& w = c.writer;
  w.put(t, lane, n);
  const void* row = !w.stream ? w.at(t, lane) : sizeof(Element) == 2 ? w.encoded : static_cast<void*>(w.buffer);
  const Element* from = static_cast<const Element*>(row);
  auto& tally = c.template tally<Element>();
  if (lane == c.begin) {
    c.sample = c.first;
    c.until = (c.first + 1) * c.lanes;
  }
  const int64_t last = lane + n;
  if (n == kForwardStrip && last < c.until && last < c.end) return tally.template add_whole<kForwardStrip>(from);
  while (lane < last) {
    const int m = int(minimum(last, c.until) - lane);
    tally.add(from, m);
    from += m;
    lane += m;
    if (lane == c.until || lane == c.end) c.finish_sample(t, tally.take());
  }
}

template <class Real>
typename CountingWriter<Real>::Put CountingWriter<Real>::put() const {
  if constexpr (sizeof(Real) == 4) {
    if (writer.elements.encode) return put_counted<Real, uint16_t>;
  }
  return put_counted<Real, Real>;
}

// Which lanes the rows come from. `ahead` lanes follow in the next tile (0 at the end).
struct Place {
  int64_t T, lane;
  int n, ahead;
};

template <class Real>
struct ForwardTensors : Place {
  static constexpr int strip = kForwardStrip;
  static constexpr bool whole = false;
  Reader<Real> x_seq;
  Writer<Real> spike_seq, v_out;
  CountingWriter<Real>* counting;                   // in place of spike_seq where spikes are counted
  typename CountingWriter<Real>::Put put_counting;  // else nullptr

  const Real* x(int64_t t, int i, int m) const {
    if (t + 1 < T) {
      x_seq.prefetch(t + 1, lane + i, m);
    } else {
      x_seq.prefetch(0, lane + n + i, minimum(m, ahead - i));
    }
    return x_seq.row(t, lane + i, m);
  }
  Real* spike(int64_t t, int i) const { return spike_seq.row(t, lane + i); }
  void put_spike(int64_t t, int i, int m) const {
    put_counting ? put_counting(*counting, t, lane + i, m) : spike_seq.put(t, lane + i, m);
  }
  bool wants_v_seq() const { return v_out.base != nullptr; }
  Real* v_seq(int64_t t, int i) const { return v_out.row(t, lane + i); }
  void put_v_seq(int64_t t, int i, int m) const { v_out.put(t, lane + i, m); }
};

template <class Real>
struct BackwardTensors : Place {
  static constexpr int strip = 256;
  static constexpr bool whole = false;
  Reader<Real> x_seq, grad_spike_seq, grad_v;
  Writer<Real> grad_x_seq;
  const Real* zeros;

  // Time runs forward over x, then back over the gradients.
  const Real* x(int64_t t, int i, int m) const {
    if (t + 1 < T) {
      x_seq.prefetch(t + 1, lane + i, m);
    } else if (grad_spike_seq.base) {
      grad_spike_seq.prefetch(t, lane + i, m);
    }
    return x_seq.row(t, lane + i, m);
  }
  const Real* x_again(int64_t t, int i, int m) const { return x_seq.row(t, lane + i, m); }
  const Real* grad_spike(int64_t t, int i, int m) const {
    if (t == 0) x_seq.prefetch(0, lane + n + i, minimum(m, ahead - i));
    if (!grad_spike_seq.base) return zeros;
    if (t > 0) grad_spike_seq.prefetch(t - 1, lane + i, m);
    return grad_spike_seq.row(t, lane + i, m);
  }
  bool has_grad_v_seq() const { return grad_v.base != nullptr; }
  const Real* grad_v_seq(int64_t t, int i, int m) const { return grad_v.row(t, lane + i, m); }
  Real* grad_x(int64_t t, int i) const { return grad_x_seq.row(t, lane + i); }
  void put_grad_x(int64_t t, int i, int m) const { grad_x_seq.put(t, lane + i, m); }
};

}  // namespace
}  // namespace snn
