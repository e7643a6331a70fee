// The lanes of one thread, and how their elements reach registers and come back.
//
// A thread holds 16 bytes of Real: 4 lanes of float, 2 of double. Where the tensors allow it (`wide`) they are
// neighbours and move in one access of 16 bytes (8 for half types); else they lie a block's width apart, so that single
// accesses of neighbouring threads still touch neighbouring elements. Nothing else depends on which lanes they are.
#pragma once

#include "core/codec.h"
#include "ops/cuda/plan.h"
#include "ops/cuda/target.h"

namespace snn {

struct alignas(16) Raw {
  uint32_t words[4];
};

// Elements of a tensor in x's dtype as Real and back.
template <class Real>
struct Codec {
  DType dtype;
  static constexpr int V = kThreadLanes<Real>;

  SNN_DEVICE bool half() const { return sizeof(Real) == 4 && dtype != DType::kFloat; }
  SNN_DEVICE int bytes() const { return half() ? 2 : int(sizeof(Real)); }

  SNN_DEVICE void decode(const Raw& raw, Real* out) const {
    if (!half()) return void(memcpy(out, &raw, kThreadBytes));
    SNN_LANES
    for (int i = 0; i < V; ++i) {
      const auto bits = uint16_t(raw.words[i / 2] >> (16 * (i % 2)));
      out[i] = dtype == DType::kBFloat16 ? snn::decode(BFloat16{bits}) : decode_half(bits);
    }
  }

  SNN_DEVICE Raw encode(const Real* from) const {
    Raw raw{};
    if (!half()) {
      memcpy(&raw, from, kThreadBytes);
      return raw;
    }
    SNN_LANES
    for (int i = 0; i < V; ++i) {
      const float x = float(from[i]);
      const uint32_t bits = dtype == DType::kBFloat16 ? encode_bfloat16(x) : encode_half(x);
      raw.words[i / 2] |= bits << (16 * (i % 2));
    }
    return raw;
  }

  // Bit i: element i is not zero (NaN is not), as it is stored.
  SNN_DEVICE unsigned nonzero(const Real* from) const {
    const Raw raw = encode(from);
    unsigned bits = 0;
    SNN_LANES
    for (int i = 0; i < V; ++i) {
      const bool is = half() ? (raw.words[i / 2] >> (16 * (i % 2)) & 0x7fff) != 0 : from[i] != Real(0);
      bits |= unsigned(is) << i;
    }
    return bits;
  }
};

// Which lanes a thread holds: first + i * step, those below N. Wide lanes are all inside.
template <class Real>
struct ThreadLanes {
  static constexpr int V = kThreadLanes<Real>;
  int64_t first, N;
  int step;
  bool wide;

  SNN_DEVICE static ThreadLanes of(int64_t tile, int64_t N, bool wide) {
    const int64_t begin = tile * blockDim.x * V;
    return {begin + int64_t(threadIdx.x) * (wide ? V : 1), N, wide ? 1 : int(blockDim.x), wide};
  }
  SNN_DEVICE int64_t lane(int i) const { return first + int64_t(i) * step; }
  SNN_DEVICE bool inside(int i) const { return wide || lane(i) < N; }

  // Rows of Real, as states are. `row` is the whole row, not this thread's part.
  SNN_DEVICE void load(const Real* row, Real* out) const {
    if (wide) {
      const Raw raw = *reinterpret_cast<const Raw*>(row + first);
      return void(memcpy(out, &raw, kThreadBytes));
    }
    SNN_LANES
    for (int i = 0; i < V; ++i) out[i] = inside(i) ? row[lane(i)] : Real(0);
  }
  SNN_DEVICE void store(Real* row, const Real* from) const {
    if (wide) {
      Raw raw;
      memcpy(&raw, from, kThreadBytes);
      *reinterpret_cast<Raw*>(row + first) = raw;
      return;
    }
    SNN_LANES
    for (int i = 0; i < V; ++i)
      if (inside(i)) row[lane(i)] = from[i];
  }

  // Elements in x's dtype. `at` is the address of this thread's first lane.
  SNN_DEVICE void put(const Codec<Real>& codec, char* at, const Real* from) const {
    const Raw raw = codec.encode(from);
    if (wide) {
      if (codec.half()) {
        *reinterpret_cast<uint2*>(at) = uint2{raw.words[0], raw.words[1]};
      } else {
        *reinterpret_cast<Raw*>(at) = raw;
      }
      return;
    }
    SNN_LANES
    for (int i = 0; i < V; ++i) {
      if (!inside(i)) continue;
      const int64_t offset = int64_t(i) * step;
      if (codec.half()) {
        reinterpret_cast<uint16_t*>(at)[offset] = uint16_t(raw.words[i / 2] >> (16 * (i % 2)));
      } else {
        reinterpret_cast<Real*>(at)[offset] = from[i];
      }
    }
  }

  SNN_DEVICE void fetch(const Codec<Real>& codec, char* slot, const char* at) const {
    if (wide) return codec.half() ? copy_async<kThreadBytes / 2>(slot, at) : copy_async<kThreadBytes>(slot, at);
    SNN_LANES
    for (int i = 0; i < V; ++i) {
      if (!inside(i)) continue;
      const int64_t offset = int64_t(i) * step;
      if (codec.half()) {
        reinterpret_cast<uint16_t*>(slot)[i] = reinterpret_cast<const uint16_t*>(at)[offset];
      } else {
        copy_async<sizeof(Real)>(slot + i * int(sizeof(Real)), reinterpret_cast<const Real*>(at) + offset);
      }
    }
  }
};

// Rows on their way: a thread asks for the rows it will take next long before it takes them. kSlots - 1 are under way
// at any time, in shared memory, where no register waits for them. A thread reads only what it fetched itself, so
// nothing here needs a barrier.
template <class Real>
struct Ring {
  Codec<Real> codec;
  unsigned taken = 0;

  SNN_DEVICE explicit Ring(Codec<Real> c) : codec(c) {}

  SNN_DEVICE static char* slot(unsigned number) {
    return shared_memory() + ((number % kSlots) * blockDim.x + threadIdx.x) * kThreadBytes;
  }
  // order.next(): address of this thread's first lane in the next row, or nullptr after the last.
  template <class Order>
  SNN_DEVICE void start(const ThreadLanes<Real>& lanes, Order& order) {
    taken = 0;
    for (unsigned k = 0; k < kSlots - 1; ++k) ask(lanes, order, k);
  }
  template <class Order>
  SNN_DEVICE void take(const ThreadLanes<Real>& lanes, Order& order, Real* out) {
    copy_wait<kSlots - 2>();
    codec.decode(*reinterpret_cast<const Raw*>(slot(taken)), out);
    ask(lanes, order, taken + kSlots - 1);  // into the slot of the row before this one
    ++taken;
  }

 private:
  template <class Order>
  SNN_DEVICE void ask(const ThreadLanes<Real>& lanes, Order& order, unsigned number) {
    if (const char* at = order.next()) lanes.fetch(codec, slot(number), at);
    copy_commit();
  }
};

}  // namespace snn
