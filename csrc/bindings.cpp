// What Python asks of the library besides ops: no torch header and no tensor here.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include <climits>

#include "ops/tables.h"

namespace py = pybind11;

namespace {

py::dict build_facts() {
  py::dict d;
  d["version"] = SNN_VERSION;
  d["torch_built_against"] = SNN_TORCH_BUILT;
  d["build_type"] = SNN_BUILD_TYPE;
  d["compiler"] = SNN_COMPILER;
  d["sanitizers"] = SNN_SANITIZE;
  d["cuda_built"] = SNN_CUDA_BUILT;
  d["cuda_architectures"] = SNN_CUDA_ARCHS;
  return d;
}

// glibc gives every block above its mmap threshold back to the system when it is freed, and the next one is mapped and
// page-faulted anew. Without mmap, and without trimming, freed blocks stay with the process.
bool keep_freed_blocks(bool keep) {
#if defined(__GLIBC__)
  constexpr int kDefaultMmaps = 65536, kDefaultTrim = 128 * 1024;
  const bool mapped = mallopt(M_MMAP_MAX, keep ? 0 : kDefaultMmaps) == 1;
  const bool trimmed = mallopt(M_TRIM_THRESHOLD, keep ? INT_MAX : kDefaultTrim) == 1;
  if (!keep) malloc_trim(0);
  return mapped && trimmed;
#else
  (void)keep;
  return false;
#endif
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "Facts about the compiled core and control of its host side; the ops are under torch.ops.snncore.";
  m.def("build_facts", build_facts);
  m.def("neuron_table", [] {
    py::dict table;
    for (const auto& row : snn::neuron_table())
      table[py::str(row.name)] = py::make_tuple(row.states, row.params, row.constants);
    return table;
  });
  m.def("surrogate_names", snn::surrogate_names);
  m.def("learnable_surrogates", snn::learnable_surrogates);
  m.def("cpu_capabilities", snn::cpu_capabilities);
  m.def("cpu_capability", snn::cpu_capability);
  m.def("set_cpu_capability", snn::set_cpu_capability, py::arg("name"));
  m.def("set_output_blocks", snn::set_output_blocks, py::arg("on"));
  m.def("release_output_blocks", snn::release_output_blocks);
  m.def("output_blocks_bytes", snn::output_blocks_bytes);
  m.def("keep_freed_blocks", keep_freed_blocks, py::arg("keep"));
}
