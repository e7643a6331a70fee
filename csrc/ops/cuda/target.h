// What device code takes from CUDA. Without nvcc the same names come from an emulation that runs one thread after
// another (tests/ops/cuda_on_host), so that the logic of every kernel is tested on machines without a GPU.
#pragma once

#if defined(__CUDACC__)

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <atomic>

#include "core/codec.h"

#define SNN_DEVICE __device__ __forceinline__
// One copy per library instead of one per kernel.
#define SNN_DEVICE_CALL static __device__ __noinline__

namespace snn {

SNN_DEVICE char* shared_memory() {
  extern __shared__ uint4 snn_shared[];
  return reinterpret_cast<char*>(snn_shared);
}

// Copies `bytes` (4, 8 or 16, both sides aligned to it) from global to shared memory while the thread goes on. Copies
// belong to the group that the next copy_commit() closes; copy_wait<n>() waits for all groups but the last n.
template <int bytes>
SNN_DEVICE void copy_async(void* shared, const void* global) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  const unsigned to = unsigned(__cvta_generic_to_shared(shared));
  if constexpr (bytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(global) : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(to), "l"(global), "n"(bytes) : "memory");
  }
#else  // Turing copies at once
  if constexpr (bytes == 16) {
    *static_cast<uint4*>(shared) = *static_cast<const uint4*>(global);
  } else if constexpr (bytes == 8) {
    *static_cast<uint2*>(shared) = *static_cast<const uint2*>(global);
  } else {
    *static_cast<unsigned*>(shared) = *static_cast<const unsigned*>(global);
  }
#endif
}

SNN_DEVICE void copy_commit() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

template <int groups>
SNN_DEVICE void copy_wait() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(groups) : "memory");
#endif
}

// One instruction each, and the same numbers as core/codec.h but for the payload of a NaN.
SNN_DEVICE float decode_half(uint16_t bits) { return __half2float(__ushort_as_half(bits)); }
SNN_DEVICE uint16_t encode_half(float x) { return __half_as_ushort(__float2half_rn(x)); }
SNN_DEVICE uint16_t encode_bfloat16(float x) { return __bfloat16_as_ushort(__float2bfloat16_rn(x)); }

// One access, `at` aligned to its size.
template <class T>
SNN_DEVICE T load(const void* at) {
  return *static_cast<const T*>(at);
}

// Bit k: thread k of the warp says yes. All threads of `threads` must come here, and no other.
SNN_DEVICE unsigned ballot(unsigned threads, bool yes) { return __ballot_sync(threads, yes); }
SNN_DEVICE int count_bits(unsigned bits) { return __popc(bits); }
SNN_DEVICE int first_bit(unsigned bits) { return __ffs(int(bits)) - 1; }
SNN_DEVICE void atomic_add(int64_t* to, int64_t value) {
  atomicAdd(reinterpret_cast<unsigned long long*>(to), static_cast<unsigned long long>(value));
}
SNN_DEVICE void atomic_or(int64_t* to, int64_t bits) {
  atomicOr(reinterpret_cast<unsigned long long*>(to), static_cast<unsigned long long>(bits));
}

template <class Kernel, class... A>
void launch(Kernel kernel, int64_t grid, int threads, int shared, void* stream, const A&... args) {
  kernel<<<unsigned(grid), unsigned(threads), size_t(shared), static_cast<cudaStream_t>(stream)>>>(args...);
}

// Blocks of this kernel that one multiprocessor holds at a time. The last answer is remembered, for each kernel (hence
// a template argument: kernels may share a type) and device; a race between threads costs a question more.
template <auto kernel>
int resident_blocks(int device, int threads, int shared, int shared_limit) {
  constexpr int kDevices = 64;
  static std::atomic<uint64_t> answers[kDevices];
  const uint64_t question = (uint64_t(shared) << 32) | (uint64_t(threads) << 16);
  auto& answer = answers[device % kDevices];
  const uint64_t known = answer.load(std::memory_order_relaxed);
  if (known != 0 && (known & ~uint64_t(0xffff)) == question && device < kDevices) return int(known & 0xffff);
  // More than 48 KiB want to be asked for; the rest of the cache is of no use to these kernels.
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_limit);
  cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared);
  int blocks = 0;
  cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, threads, size_t(shared));
  blocks = blocks > 0 ? blocks : 1;
  answer.store(question | uint64_t(blocks), std::memory_order_relaxed);
  return blocks;
}

}  // namespace snn

#else
#include "cuda_on_host.h"
#endif
