// The list of neurons. A neuron's number is its place here; Python reads names and numbers from the library.
#pragma once

#include "neuron/if.h"
#include "neuron/leaky.h"
#include "neuron/lif.h"

namespace snn {

template <class... N>
struct NeuronList {
  static constexpr int size = sizeof...(N);
};

using Neurons = NeuronList<IntegrateFire, LeakyIntegrateFire, Leaky>;

}  // namespace snn
