# snn_add_isa_kernels(target source): compiles one plain-loop source once per instruction set into `target`.
# Each copy lives in its own namespace (SNN_ISA) and exports one table; csrc/ops/isa.cpp picks one at run time.
# -ffp-contract=off: every instruction set must give the same bits.
# -fno-unswitch-loops: unswitched copies of a lane loop keep branches that the vectoriser then refuses.
# -fno-trapping-math: without it GCC does not turn `h >= v_threshold ? 1 : 0` into vector code below AVX-512.
# Under sanitizers -O1: at -O3 the compiler is busy with the instrumented code for many minutes.
set(SNN_KERNEL_LEVEL -O3)
if(SNN_SANITIZE)
  set(SNN_KERNEL_LEVEL -O1)
endif()
set(SNN_KERNEL_FLAGS ${SNN_KERNEL_LEVEL} -fopenmp-simd -ffp-contract=off -fno-math-errno -fno-trapping-math -fno-unswitch-loops)
set(SNN_ISA_FLAGS_baseline "")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(SNN_ISAS baseline avx2 avx512 CACHE STRING "Instruction sets to build: all three, or baseline alone (quicker)")
  set(SNN_ISA_FLAGS_avx2 -mavx2 -mfma -mf16c)
  set(SNN_ISA_FLAGS_avx512 -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma -mf16c -mprefer-vector-width=512)
else()
  set(SNN_ISAS baseline)  # on aarch64 the baseline is NEON
endif()

function(snn_add_isa_kernels target source)
  foreach(isa IN LISTS SNN_ISAS)
    get_filename_component(name ${source} NAME_WE)
    set(lib ${target}_${name}_${isa})
    add_library(${lib} OBJECT ${source})
    target_compile_options(${lib} PRIVATE ${SNN_KERNEL_FLAGS} ${SNN_ISA_FLAGS_${isa}})
    target_compile_definitions(${lib} PRIVATE SNN_ISA=${isa})
    target_include_directories(${lib} PRIVATE ${PROJECT_SOURCE_DIR}/csrc)
    target_link_libraries(${lib} PRIVATE snn_warnings)
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:${lib}>)
    string(TOUPPER ${isa} upper)
    target_compile_definitions(${target} PRIVATE SNN_HAS_${upper})
  endforeach()
endfunction()
