"""The counts of all ranks of a distributed run as one record."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from ..ranks import gathered
from .ledger import Entry, Ledger
from .record import LayerRecord, NeuronRecord, Part, Record, complete

__all__ = ["joined", "merged"]


def joined(record: Record, across_ranks: bool) -> Record:
    """Return ``record`` on the CPU, joined with those of the other ranks if there are any; then a collective call."""
    own = _on_cpu(record)
    records = gathered(own) if across_ranks else [own]
    return own if len(records) == 1 else merged(records)


def merged(records: Iterable[Record]) -> Record:
    """Return one record of all runs of ``records``, one record's after the other's."""
    whole = Record()
    for record in records:
        first = len(whole.samples)
        whole.samples += record.samples
        whole.steps += record.steps
        whole.forwards += record.forwards
        whole.uncounted.update(record.uncounted)
        for name, neuron in record.neurons.items():
            known = whole.neurons.setdefault(name, NeuronRecord(0, neuron.states))
            known.updates += neuron.updates
        for key, layer in record.layers.items():
            to = whole.layers.setdefault(key, LayerRecord(layer.name, layer.kind))
            to.runs.update({first + run: parts for run, parts in layer.runs.items()})
    return whole


def _on_cpu(record: Record) -> Record:
    layers = {}
    for key, layer in record.layers.items():
        layers[key] = LayerRecord(layer.name, layer.kind, _runs_on_cpu(layer))
    return replace(record, layers=layers, ledger=Ledger())


def _runs_on_cpu(layer: LayerRecord) -> dict[int, list[Part]]:
    """Copy all parts in one go: every copy from a device waits for it."""
    parts = [part for run in layer.runs.values() for part in run]
    flat = torch.cat([part.entry.flat for part in parts]).cpu()
    pieces = iter(torch.split(flat, [part.entry.elements for part in parts]))
    return {run: [_completed(part, next(pieces)) for part in of_run] for run, of_run in layer.runs.items()}


def _completed(part: Part, counts: Tensor) -> Part:
    return replace(part, entry=Entry.of(complete(counts.view(part.entry.shape), part.geometry)))
