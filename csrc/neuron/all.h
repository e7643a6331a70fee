// The list of neurons. A neuron's number is its place here; Python reads names and numbers from the library.
#pragma once

#include "neuron/alif.h"
#include "neuron/alpha.h"
#include "neuron/clif.h"
#include "neuron/cuba_lif.h"
#include "neuron/eif.h"
#include "neuron/glif.h"
#include "neuron/if.h"
#include "neuron/ilif.h"
#include "neuron/integer_lif.h"
#include "neuron/izhikevich.h"
#include "neuron/klif.h"
#include "neuron/lapicque.h"
#include "neuron/leaky.h"
#include "neuron/lif.h"
#include "neuron/qif.h"
#include "neuron/raf.h"
#include "neuron/rplif.h"
#include "neuron/stbif.h"
#include "neuron/synaptic.h"
#include "neuron/ternary.h"
#include "neuron/tslif.h"

namespace snn {

template <class... N>
struct NeuronList {
  static constexpr int size = sizeof...(N);
};

using Neurons =
    NeuronList<IntegrateFire, LeakyIntegrateFire, Leaky, Ternary, IntegerLIF, ComplementaryLIF, TwoScaleLIF,
               SpikeTracer, CubaLif, Synaptic, Alpha, Lapicque, ResonateFire, RefractoryLif, InhibitoryLif, GatedLif,
               QuadraticIntegrateFire, ExponentialIntegrateFire, Izhikevich, KLeakyIntegrateFire, AdaptiveThreshold>;

}  // namespace snn
