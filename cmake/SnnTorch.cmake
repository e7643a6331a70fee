# Finds torch's headers and libtorch_cpu.so without importing torch, and without find_package(Torch):
# that one demands a CUDA toolkit as soon as the torch found is a CUDA build.
# Result: target snn::torch, variables SNN_TORCH_DIR, SNN_TORCH_VERSION, SNN_TORCH_CUDA ("None" on a CPU build).
set(SNN_TORCH_DIR "$ENV{SNN_TORCH_DIR}" CACHE PATH "The torch package folder to build against (found when empty)")

set(_probe [[
import importlib.util, pathlib
spec = importlib.util.find_spec("torch")
print(pathlib.Path(spec.origin).parent if spec and spec.origin else "")
]])
if(NOT SNN_TORCH_DIR)
  # -I ignores PYTHONPATH, hence pip's build isolation: the torch of the user's environment is found.
  foreach(_isolated IN ITEMS "" "-I")
    execute_process(COMMAND ${Python_EXECUTABLE} ${_isolated} -c "${_probe}"
                    OUTPUT_VARIABLE _found OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    if(_found AND NOT SNN_TORCH_DIR)
      set(SNN_TORCH_DIR "${_found}" CACHE PATH "" FORCE)
    endif()
  endforeach()
endif()
if(NOT SNN_TORCH_DIR OR NOT EXISTS "${SNN_TORCH_DIR}/version.py")
  message(FATAL_ERROR
    "snncore needs PyTorch 2.10 or later to build against and found none (looked with ${Python_EXECUTABLE}). "
    "Install it first: 'pip install torch==2.13.0' (add '--index-url https://download.pytorch.org/whl/cpu' for the "
    "small CPU build), then install snncore again; or name a torch folder with -DSNN_TORCH_DIR=DIR.")
endif()

file(READ "${SNN_TORCH_DIR}/version.py" _version_py)
string(REGEX MATCH "__version__ = '([^']*)'" _ "${_version_py}")
set(SNN_TORCH_VERSION "${CMAKE_MATCH_1}")
string(REGEX MATCH "cuda[^=\n]*= ([^\n]*)" _ "${_version_py}")
string(REPLACE "'" "" SNN_TORCH_CUDA "${CMAKE_MATCH_1}")
if(SNN_TORCH_VERSION VERSION_LESS "2.10")
  message(FATAL_ERROR
    "snncore needs PyTorch 2.10 or later, found ${SNN_TORCH_VERSION} in ${SNN_TORCH_DIR}. "
    "Upgrade it ('pip install torch==2.13.0'), then install snncore again.")
endif()
message(STATUS "torch ${SNN_TORCH_VERSION} (CUDA ${SNN_TORCH_CUDA}) in ${SNN_TORCH_DIR}")

add_library(snn_torch INTERFACE)
add_library(snn::torch ALIAS snn_torch)
target_include_directories(snn_torch SYSTEM INTERFACE
  "${SNN_TORCH_DIR}/include" "${SNN_TORCH_DIR}/include/torch/csrc/api/include")
# The oldest torch the binary must run on; without it the headers aim at the torch found here.
target_compile_definitions(snn_torch INTERFACE TORCH_TARGET_VERSION=0x020a000000000000)
target_link_libraries(snn_torch INTERFACE "${SNN_TORCH_DIR}/lib/libtorch_cpu.so")
