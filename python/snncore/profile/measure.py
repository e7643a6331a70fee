"""One run over test samples in which everything is counted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .. import ops
from ..data import Batches
from ..encoding import direct
from ..errors import ArgumentError, StateError
from ..metric import (
    Activity,
    ActivityReport,
    Classification,
    ClassificationReport,
    ConnectionSparsity,
    Latency,
    MembraneReport,
    MembraneUpdates,
    connection_sparsity,
    footprint,
    latency,
    parameter_count,
)
from ..metric.sop import EnergyCost, MemoryCost, Report, SopCounter
from ..train.energy import in_words, spread
from ..train.evaluate import forward, mixed_precision
from .load import Saved

__all__ = ["FORMAT", "Profile", "Sample", "profile"]

FORMAT = "snncore.profile/1"


@dataclass(frozen=True)
class Sample:
    """One of the samples whose raster is shown: picture [C, H, W] in [0, 1], its class, and what the net said."""

    picture: Tensor
    label: str
    said: str


@dataclass(frozen=True)
class Profile:
    """What a saved net does and costs.

    Attributes:
        saved: the net and its data.
        sop: operations and energy.
        activity: firing rates and rasters.
        membrane: updates of potentials.
        connections: weights that are zero.
        parameters, bytes: of the net; bytes with its buffers.
        classes: how the samples that were counted were classified.
        samples: those whose rasters are kept.
        speed: latency, throughput and peak memory on this machine; None: not asked for.
        versions: what it was measured with.
    """

    saved: Saved
    sop: Report
    activity: ActivityReport
    membrane: MembraneReport
    connections: ConnectionSparsity
    parameters: int
    bytes: int
    classes: ClassificationReport
    samples: tuple[Sample, ...]
    speed: Latency | None
    versions: str

    @property
    def silent(self) -> tuple[str, ...]:
        """Names of the layers of neurons that never spiked."""
        return tuple(name for name, layer in self.activity.layers.items() if not sum(layer.spikes))

    @property
    def neuron_operations(self) -> float | None:
        """Operations of the neurons per sample (NeuroBench); None where a class of neurons has no constant."""
        try:
            return self.membrane.operations_per_sample
        except StateError:
            return None

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and words under stable keys (docs/energy.md lists them); without rasters."""
        c = self.saved.config
        return {
            "format": FORMAT,
            "checkpoint": str(self.saved.path),
            "model": c.model.name,
            "neuron": c.neuron.name,
            "T": c.model.T,
            "trained_on": self.saved.trained_on,
            "dataset": self.saved.test.name,
            "samples": self.sop.samples,
            "accuracy": self.classes.accuracy,
            "macro_f1": self.classes.macro_f1,
            "parameters": self.parameters,
            "footprint_bytes": self.bytes,
            "connection_sparsity": self.connections.sparsity,
            "activation_sparsity": self.activity.sparsity,
            "firing_rate": self.activity.firing_rate,
            "membrane_updates": self.membrane.updates / self.sop.samples,
            "neuron_operations": self.neuron_operations,
            "never_spike": list(self.silent),
            "sop": self.sop.to_dict(),
            "activity": self.activity.to_dict(),
            "membrane": self.membrane.to_dict(),
            "classification": {"classes": list(self.saved.test.classes), **self.classes.to_dict()},
            "speed": None if self.speed is None else self.speed.to_dict(),
            "versions": self.versions,
        }

    def to_json(self) -> str:
        """Return ``to_dict`` as JSON."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"

    def __str__(self) -> str:
        c, test = self.saved.config, self.saved.test
        lines = [
            f"{self.saved.path}: {c.model.name}, {c.neuron.name} neurons, T = {c.model.T}, trained on "
            f"{self.saved.trained_on}",
            f"data: {test.source}",
            f"accuracy {self.classes.accuracy:.4f}, macro F1 {self.classes.macro_f1:.4f} on the {self.sop.samples:,} "
            "samples that were counted",
            f"{self.parameters:,} parameters, {self.bytes:,} bytes; connection sparsity "
            f"{self.connections.sparsity:.4f}, activation sparsity {self.activity.sparsity:.4f}",
            "",
            str(self.sop),
            "",
            f"{'neurons':<24}{'size':>12}{'firing rate':>13}   per step",
        ]
        for name, layer in self.activity.layers.items():
            steps = " ".join(f"{rate:.3f}" for rate in layer.firing_rate_per_step[:8])
            more = " ..." if len(layer.spikes) > 8 else ""
            size = "x".join(str(n) for n in layer.neurons)
            note = "   never spikes" if name in self.silent else ""
            lines.append(f"{name:<24}{size:>12}{layer.firing_rate:>13.4f}   {steps}{more}{note}")
        if self.speed is not None:
            lines += ["", *str(self.speed).splitlines()]
        return "\n".join(lines)


@torch.no_grad()
def profile(
    saved: Saved,
    *,
    samples: int = 128,
    batch_size: int | None = None,
    mode: str = "exact",
    first_layer: str = "once",
    cost: str | EnergyCost = "fp32",
    memory: str | MemoryCost = "on_chip",
    rasters: int = 3,
    speed_at: Sequence[int] = (),
) -> Profile:
    """Run the net on test samples, spread evenly over the test set, and count.

    Args:
        saved: from `load`.
        samples: how many, >= 1; all where there are fewer.
        batch_size: samples at a time; changes no number; None: as in training.
        mode: as of ``SopCounter.report``.
        first_layer: likewise.
        cost: likewise.
        memory: likewise.
        rasters: of how many samples the spikes are kept, >= 0.
        speed_at: batch sizes at which latency and peak memory are measured, after the counting; none: they are not.

    Raises:
        ArgumentError: an argument is none of these.
        StateError: nothing in the net could be counted.
    """
    for name, value, least in (("samples", samples, 1), ("rasters", rasters, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ArgumentError(f"profile.{name}: must be an integer >= {least}, got {value!r}; correct it")
    net, test, config = saved.net, saved.test, saved.config
    places = spread(samples, test)
    batches = Batches(
        test, config.data.batch_size if batch_size is None else batch_size, shuffle=False, seed=0, indices=places
    )
    classes = Classification(test.num_classes)
    shown: list[Sample] = []
    with (
        SopCounter(net) as sop,
        Activity(net, raster_samples=rasters) as activity,
        MembraneUpdates(net) as membrane,
    ):
        for x, label in batches:
            spike_seq = forward(net, x, config)
            spikes = spike_seq.sum(0, dtype=torch.float32)
            classes.update(spikes, label)
            said = spikes.argmax(1)
            for i in range(min(rasters - len(shown), len(label))):
                names = test.classes[int(label[i])], test.classes[int(said[i])]
                shown.append(Sample(x[i].cpu(), *names))
    found = in_words(test, len(places))
    build = ops.build_info()
    return Profile(
        saved,
        sop.report(mode, first_layer=first_layer, dataset=found, cost=cost, memory=memory),
        activity.compute(),
        membrane.compute(),
        connection_sparsity(net),
        parameter_count(net),
        footprint(net),
        classes.compute(),
        tuple(shown),
        _speed(saved, places, speed_at) if speed_at else None,
        f"snncore {build['version']}, torch {torch.__version__}",
    )


def _speed(saved: Saved, places: Tensor, batch_sizes: Sequence[int]) -> Latency:
    """Measure the net on the samples that were counted, at most as many as the largest batch needs."""
    config, wanted = saved.config, places[: max(*batch_sizes, 1)]
    batch = Batches(saved.test, len(wanted), shuffle=False, seed=0, indices=wanted)
    x = next(iter(batch))[0]
    with mixed_precision(config.train.amp, x.device):
        return latency(saved.net, direct(x, config.model.T), batch_sizes=batch_sizes, warmup=5, repeats=50)
