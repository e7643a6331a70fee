# Warnings, sanitizers and hardening shared by every target.
option(SNN_WERROR "Treat compiler warnings as errors" OFF)
set(SNN_SANITIZE "" CACHE STRING "Sanitizers, e.g. address,undefined or thread (empty: none)")
option(SNN_PYTHON_MODULE "Build the pybind11 module (build info, CPU features, threads, allocator)" ON)
set(SNN_CUDA AUTO CACHE STRING "Build the CUDA kernels: ON, OFF, or AUTO (nvcc found and torch is a CUDA build)")
set_property(CACHE SNN_CUDA PROPERTY STRINGS AUTO ON OFF)

add_library(snn_warnings INTERFACE)
target_compile_options(snn_warnings INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion
    $<$<BOOL:${SNN_WERROR}>:-Werror>>
  $<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<BOOL:${SNN_WERROR}>>:--Werror=all-warnings>)

if(SNN_SANITIZE)
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${SNN_SANITIZE}> $<$<COMPILE_LANGUAGE:CXX>:-fno-omit-frame-pointer>)
  add_link_options(-fsanitize=${SNN_SANITIZE})
endif()
# Absolute build paths must not stand in error messages of the installed library.
add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-ffile-prefix-map=${PROJECT_SOURCE_DIR}=.>)
