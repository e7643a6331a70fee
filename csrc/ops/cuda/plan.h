// How a call is spread over a device: decided on the host from the device's own numbers, handed to the kernels as
// numbers.
#pragma once

#include "core/hd.h"
#include "ops/neuron_args.h"

namespace snn {

// A thread holds so many bytes of Real: 4 lanes of float, 2 of double.
constexpr int kThreadBytes = 16;
template <class Real>
constexpr int kThreadLanes = kThreadBytes / int(sizeof(Real));

// Rows that a thread has asked for wait in shared memory (Ring of lanes.h).
constexpr int kSlots = 8;
constexpr int kRingBytes = kSlots * kThreadBytes;  // of a thread

// Of one multiprocessor, but for the first and the last two.
struct DeviceFacts {
  int multiprocessors;
  int threads;           // resident at most
  int shared;            // bytes of shared memory
  int64_t in_flight;     // bytes that must be under way to keep the memory busy: bandwidth * latency
  int shared_per_block;  // bytes a block may have
  int device;            // its number
};

constexpr int kBlockThreads = 128;       // at most
constexpr int kReservedPerBlock = 1024;  // shared memory that the system takes from every block
constexpr int64_t kMostBlocks = 0x7fffffff;

// Threads of a block: fewer for small N, so that all multiprocessors have something to do.
inline int block_threads(int64_t N, int lanes, const DeviceFacts& device) {
  int threads = kBlockThreads;
  while (threads > 32 && N < int64_t(threads) * lanes * device.multiprocessors * 2) threads /= 2;
  return threads;
}

inline int64_t blocks_over(int64_t N, int lanes, int threads) {
  return (N + int64_t(threads) * lanes - 1) / (int64_t(threads) * lanes);
}

// Backward keeps the states of `chunk` steps, and those it started from, in shared memory: 16 bytes per state of a
// thread.
struct BackwardPlan {
  int64_t chunk, chunks;  // the last may be shorter
  int threads, shared;    // of a block
  int64_t grid;           // persistent: a block goes over the lanes in strides

  static int64_t thread_bytes(int64_t chunk, int states) { return kRingBytes + (chunk + 1) * states * kThreadBytes; }
  // The state at the start of every chunk but the first.
  int64_t checkpoint_bytes(int states) const { return grid * threads * (chunks - 1) * states * kThreadBytes; }
};

// Resident threads of a multiprocessor where a thread takes `bytes` of shared memory.
inline int resident_threads(int threads, int64_t bytes, const DeviceFacts& device) {
  const int64_t block = threads * bytes;
  if (block > device.shared_per_block) return 0;
  const int64_t blocks = device.shared / (block + kReservedPerBlock);
  return int(blocks * threads < device.threads ? blocks * threads : device.threads / threads * threads);
}

// The block size at which most threads are resident with chunks of so many steps, larger ones first, and how many.
inline int fit_threads(int most, int64_t chunk, int states, const DeviceFacts& device, int& best_threads) {
  int best = 0;
  for (int threads = most; threads >= 32; threads /= 2) {
    const int resident = resident_threads(threads, BackwardPlan::thread_bytes(chunk, states), device);
    if (resident <= best) continue;
    best = resident;
    best_threads = threads;
  }
  return best;
}

// The chunks of steps that should take least time where memory is the limit: bytes moved, over the share that resident
// threads, each with kSlots - 1 rows under way, have of what must be under way. One chunk reads x and the gradient and
// writes a gradient; several read x once more, and write and read a state per chunk. The grid is left to the kernel.
inline BackwardPlan plan_backward(const NeuronArgs& a, int states, int lanes, int element_bytes,
                                  const DeviceFacts& device) {
  const int most = block_threads(a.N, lanes, device);
  const double enough = double(device.in_flight) / ((kSlots - 1) * lanes * element_bytes);
  const double state_bytes = 2.0 * states * kThreadBytes / lanes;
  BackwardPlan plan{1, a.T > 0 ? a.T : 1, 32, 0, 0};
  double least = 1e300;
  for (int64_t wanted = 1;; wanted += (wanted + 1) / 2) {
    const int64_t chunk = a.T > wanted ? (a.T + wanted - 1) / wanted : 1,
                  chunks = a.T > 0 ? (a.T + chunk - 1) / chunk : 1;
    int threads = 32;
    const int resident = fit_threads(most, chunk, states, device, threads);
    const double bytes = chunks == 1 ? 3.0 * element_bytes : 4.0 * element_bytes + state_bytes / double(chunk);
    const double time = resident > 0 ? bytes / (resident < enough ? resident / enough : 1.0) : 1e300;
    if (time < least) {
      least = time;
      plan = {chunk, chunks, threads, 0, 0};
    }
    if (chunk == 1) break;
  }
  plan.shared = int(plan.threads * BackwardPlan::thread_bytes(plan.chunk, states));
  return plan;
}

}  // namespace snn
