// The three symbols that the CUDA kernels take from torch's libtorch_cuda.so, for linking only (never installed).
// Linking against this stub with --no-undefined proves that nothing else of that library is used, and lets a machine
// with a CPU build of torch build the kernels.
extern "C" {
__attribute__((visibility("default"))) void aoti_torch_get_current_cuda_stream() {}
__attribute__((visibility("default"))) void torch_c10_cuda_check_msg() {}
__attribute__((visibility("default"))) void torch_c10_cuda_free_error_msg() {}
}
