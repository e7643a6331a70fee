// What bindings.cpp may ask of the library: no torch types.
#pragma once

#include <stdint.h>

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
  int states, params, constants, fires;
};

SNN_EXPORT std::vector<NeuronRow> neuron_table();
SNN_EXPORT std::vector<std::string> surrogate_names();       // a surrogate's number is its place here
SNN_EXPORT std::vector<std::string> learnable_surrogates();  // those whose alpha has a derivative
SNN_EXPORT std::vector<std::string> cpu_capabilities();      // of this build on this machine, worst first
SNN_EXPORT std::string cpu_capability();
SNN_EXPORT bool set_cpu_capability(const std::string& name);
SNN_EXPORT void set_output_blocks(bool on);  // keep the memory of large outputs for the next ones
SNN_EXPORT void release_output_blocks();     // give those kept and unused now back to the system
SNN_EXPORT int64_t output_blocks_bytes();    // kept and unused now

}  // namespace snn
