// What lets one source serve host and device.
#pragma once

#include <stdint.h>

#if defined(__CUDACC__)
#define SNN_HD __host__ __device__ __forceinline__
#else
#define SNN_HD inline __attribute__((always_inline))
#endif

#define SNN_RESTRICT __restrict__

// Before a loop over lanes: vector code on the host, unrolled into registers on the device.
#if defined(__CUDA_ARCH__)
#define SNN_LANES _Pragma("unroll")
#elif defined(__CUDACC__)
#define SNN_LANES
#else
#define SNN_LANES _Pragma("omp simd")
#endif
