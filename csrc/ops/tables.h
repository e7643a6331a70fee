// What bindings.cpp may ask of the library: no torch types.
#pragma once

#include <string>
#include <vector>

#if defined(__GNUC__)
#define SNN_EXPORT __attribute__((visibility("default")))
#else
#define SNN_EXPORT
#endif

namespace snn {

struct NeuronRow {
  std::string name;
  int states, params, constants;
};

SNN_EXPORT std::vector<NeuronRow> neuron_table();
SNN_EXPORT std::vector<std::string> surrogate_names();   // a surrogate's number is its place here
SNN_EXPORT std::vector<std::string> cpu_capabilities();  // of this build on this machine, worst first
SNN_EXPORT std::string cpu_capability();
SNN_EXPORT bool set_cpu_capability(const std::string& name);

}  // namespace snn
