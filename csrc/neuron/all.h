// The list of neurons. A neuron's number is its place here; Python reads names and numbers from the library.
#pragma once

#include "neuron/alif.h"
#include "neuron/clif.h"
#include "neuron/eif.h"
#include "neuron/if.h"
#include "neuron/integer_lif.h"
#include "neuron/izhikevich.h"
#include "neuron/klif.h"
#include "neuron/leaky.h"
#include "neuron/lif.h"
#include "neuron/qif.h"
#include "neuron/stbif.h"
#include "neuron/ternary.h"
#include "neuron/tslif.h"

namespace snn {

template <class... N>
struct NeuronList {
  static constexpr int size = sizeof...(N);
};

using Neurons = NeuronList<IntegrateFire, LeakyIntegrateFire, Leaky, Ternary, IntegerLIF, ComplementaryLIF, TwoScaleLIF,
                           SpikeTracer, QuadraticIntegrateFire, ExponentialIntegrateFire, Izhikevich,
                           KLeakyIntegrateFire, AdaptiveThreshold>;

}  // namespace snn
