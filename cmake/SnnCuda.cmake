set(SNN_CUDA_BUILT "no")
set(SNN_CUDA_ARCHS "")
