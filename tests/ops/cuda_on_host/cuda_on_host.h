// As much of CUDA as csrc/ops/cuda takes, on a CPU: the threads of a block run one after another, each until the next
// barrier. Stricter than a device: shared memory starts as NaN, an asynchronous copy leaves NaN behind until it is
// waited for, every access must be aligned, and barriers must be reached by all threads of a block or none.
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "core/codec.h"

#define __global__
#define __launch_bounds__(threads)
#define SNN_DEVICE inline
#define SNN_DEVICE_CALL static

struct Index {
  unsigned x;
};
struct uint2 {
  unsigned x, y;
};
inline Index blockIdx, threadIdx, blockDim, gridDim;

namespace snn {

[[noreturn]] inline void emulation_error(const char* what) {
  fprintf(stderr, "cuda_on_host: %s (block %u, thread %u)\n", what, blockIdx.x, threadIdx.x);
  abort();
}

struct Copy {
  char* to;
  const char* from;
  int bytes;
};

struct Fiber {
  ucontext_t context;
  std::vector<char> stack = std::vector<char>(1 << 18);
  bool done = true, voting = false;
  std::vector<Copy> open;
  std::deque<std::vector<Copy>> groups;
};

struct Warp {
  unsigned threads = 0, arrived = 0, votes = 0, result = 0;
  uint64_t turn = 0;
};

struct Emulation {
  Warp warps[32];
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::function<void()> body;
  ucontext_t scheduler;
  Fiber* now = nullptr;
  char* shared = nullptr;
  int resident = 1;  // what resident_blocks answers
  int64_t blocks_run = 0;
  const void* stack = nullptr;  // of the scheduler
  size_t stack_size = 0;

  static Emulation& get() {
    static Emulation all;
    return all;
  }

  static void enter() {
    Emulation& e = get();
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &e.stack, &e.stack_size);
#endif
    e.body();
    e.now->done = true;
    for (const auto& group : e.now->groups)
      if (!group.empty()) emulation_error("a row was asked for and never taken");
    leave(true);
  }
  static void leave(bool for_good) {
    Emulation& e = get();
    [[maybe_unused]] void* fake = nullptr;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(for_good ? nullptr : &fake, e.stack, e.stack_size);
#else
    (void)for_good;
#endif
    swapcontext(&e.now->context, &e.scheduler);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fake, &e.stack, &e.stack_size);
#endif
  }
  void resume(Fiber& fiber) {
    now = &fiber;
    [[maybe_unused]] void* fake = nullptr;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&fake, fiber.stack.data(), fiber.stack.size());
#endif
    swapcontext(&scheduler, &fiber.context);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
  }

  void run_block(int threads) {
    while (int(fibers.size()) < threads) fibers.push_back(std::make_unique<Fiber>());
    for (int t = 0; t < threads; ++t) {
      Fiber& f = *fibers[size_t(t)];
      getcontext(&f.context);
      f.context.uc_stack.ss_sp = f.stack.data();
      f.context.uc_stack.ss_size = f.stack.size();
      f.context.uc_link = nullptr;
      f.done = f.voting = false;
      f.open.clear();
      f.groups.clear();
      makecontext(&f.context, enter, 0);
    }
    for (Warp& warp : warps) warp = {};
    for (int left = threads; left > 0;) {
      const int before = left;
      left -= run_to_barrier(threads, false);
      for (uint64_t turns = ~uint64_t(0); voting(threads) > 0;) {
        const uint64_t now_turns = all_turns();
        if (turns == now_turns) emulation_error("some threads wait for votes that others never give");
        turns = now_turns;
        left -= run_to_barrier(threads, true);
      }
      if (left != 0 && left != before) emulation_error("some threads wait at a barrier that others never reach");
    }
    for (const Warp& warp : warps)
      if (warp.arrived != 0) emulation_error("a vote was never finished");
    ++blocks_run;
  }

 private:
  // Runs each thread, or those that wait for votes, until it waits or is done. Returns how many are done now.
  int run_to_barrier(int threads, bool only_voting) {
    int finished = 0;
    for (int k = 0; k < threads; ++k) {
      const int t = blocks_run % 2 == 0 ? k : threads - 1 - k;  // no order may matter
      Fiber& f = *fibers[size_t(t)];
      if (f.done || (only_voting && !f.voting)) continue;
      threadIdx.x = unsigned(t);
      resume(f);
      finished += f.done;
    }
    return finished;
  }
  int voting(int threads) const {
    int count = 0;
    for (int t = 0; t < threads; ++t) count += !fibers[size_t(t)]->done && fibers[size_t(t)]->voting;
    return count;
  }
  uint64_t all_turns() const {
    uint64_t sum = 0;
    for (const Warp& warp : warps) sum += warp.turn;
    return sum;
  }
};

inline char* shared_memory() { return Emulation::get().shared; }

inline void check_aligned(const void* p, int bytes) {
  if (reinterpret_cast<uintptr_t>(p) % size_t(bytes) != 0) emulation_error("misaligned access");
}

template <int bytes>
void copy_async(void* shared, const void* global) {
  static_assert(bytes == 4 || bytes == 8 || bytes == 16, "no such instruction");
  check_aligned(shared, bytes);
  check_aligned(global, bytes);
  memset(shared, 0xff, bytes);
  Emulation::get().now->open.push_back({static_cast<char*>(shared), static_cast<const char*>(global), bytes});
}
inline void copy_commit() {
  Fiber& f = *Emulation::get().now;
  f.groups.push_back(std::move(f.open));
  f.open.clear();
}
template <int groups>
void copy_wait() {
  auto& pending = Emulation::get().now->groups;
  while (pending.size() > groups) {
    for (const Copy& c : pending.front()) memcpy(c.to, c.from, size_t(c.bytes));
    pending.pop_front();
  }
}

template <class T>
T load(const void* at) {
  check_aligned(at, int(sizeof(T)));
  return *static_cast<const T*>(at);
}

inline unsigned ballot(unsigned threads, bool yes) {
  Emulation& e = Emulation::get();
  const unsigned mine = threadIdx.x, bit = 1u << mine % 32;
  Warp& warp = e.warps[mine / 32];
  Fiber& fiber = *e.now;
  if (!(threads & bit)) emulation_error("a thread votes that is not asked");
  if (warp.arrived != 0 && warp.threads != threads) emulation_error("threads of a warp ask different threads");
  warp.threads = threads;
  warp.arrived |= bit;
  if (yes) warp.votes |= bit;
  if (warp.arrived == threads) {
    warp.result = warp.votes;
    warp.arrived = warp.votes = 0;
    ++warp.turn;
    return warp.result;
  }
  fiber.voting = true;
  for (const uint64_t turn = warp.turn; warp.turn == turn;) Emulation::leave(false);
  fiber.voting = false;
  threadIdx.x = mine;
  return warp.result;
}
inline int count_bits(unsigned bits) { return __builtin_popcount(bits); }
inline int first_bit(unsigned bits) { return __builtin_ffs(int(bits)) - 1; }
inline void atomic_add(int64_t* to, int64_t value) { *to += value; }
inline void atomic_or(int64_t* to, int64_t bits) { *to |= bits; }

inline float decode_half(uint16_t bits) { return decode(Half{bits}); }
inline uint16_t encode_half(float x) { return encode(x, static_cast<Half*>(nullptr)).bits; }
inline uint16_t encode_bfloat16(float x) { return encode(x, static_cast<BFloat16*>(nullptr)).bits; }

template <class Kernel, class... A>
void launch(Kernel kernel, int64_t grid, int threads, int shared, void*, const A&... args) {
  if (grid < 1 || threads < 1 || threads > 1024) emulation_error("no such launch");
  Emulation& e = Emulation::get();
  gridDim.x = unsigned(grid);
  blockDim.x = unsigned(threads);
  e.body = [&] { kernel(args...); };
  for (int64_t b = 0; b < grid; ++b) {
    // Exactly as large as asked for, so that AddressSanitizer sees what lies beyond.
    char* memory = static_cast<char*>(aligned_alloc(16, size_t(shared + 15) / 16 * 16 + (shared == 0) * 16));
    memset(memory, 0xff, size_t(shared));
    e.shared = memory;
    blockIdx.x = unsigned(b);
    e.run_block(threads);
    free(memory);
  }
}

template <auto kernel>
int resident_blocks(int, int, int, int) {
  return Emulation::get().resident;
}

}  // namespace snn

inline void __syncthreads() {
  const unsigned mine = threadIdx.x;
  snn::Emulation::leave(false);
  threadIdx.x = mine;
}
