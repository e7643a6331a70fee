// Importing this module loads libsnncore_cuda.so, whose static initialisers register the CUDA kernels.
#include <pybind11/pybind11.h>

PYBIND11_MODULE(_C_cuda, m) { m.doc() = "Loads the CUDA kernels of snncore."; }
