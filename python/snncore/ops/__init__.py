"""The compiled core: ``torch.ops.snncore``, its autograd, and its plain-torch definition.

``multi_step`` runs a neuron of the table over all time steps in one fused kernel; ``reference.multi_step`` is the same
thing as a readable loop. Importing this room loads the library, once.
"""

from .library import build_info, cuda_ready, keep_freed_blocks, set_cpu_capability

# the library first: it says in one line what is wrong with it or with torch
# isort: split
from .counters import overlap_count, spike_count, spike_count_into
from .neuron import NEURON_TABLE, SURROGATE_NAMES, Dynamics, multi_step

__all__ = [
    "NEURON_TABLE",
    "SURROGATE_NAMES",
    "Dynamics",
    "build_info",
    "cuda_ready",
    "keep_freed_blocks",
    "multi_step",
    "overlap_count",
    "set_cpu_capability",
    "spike_count",
    "spike_count_into",
]
