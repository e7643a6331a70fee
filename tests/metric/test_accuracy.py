"""Accuracy: the class that fires most, counted exactly."""

from __future__ import annotations

import pytest
import torch

from snncore.errors import ArgumentError, StateError
from snncore.metric import Accuracy, hits


def spikes(counts, T=4):
    """[T, B, C] with the given number of spikes for each sample and class."""
    steps = torch.arange(T).view(T, 1, 1)
    return (steps < torch.tensor(counts)).float()


def test_the_class_that_fires_most_is_right():
    label = torch.tensor([0, 1, 1, 0])
    output = spikes([[3, 1], [0, 2], [4, 3], [0, 0]])  # right, right, wrong, silent: class 0
    assert int(hits(output, label)) == 3
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        assert int(hits(output.to(dtype), label)) == 3


def test_counts_that_bfloat16_cannot_tell_apart():
    output = torch.ones(257, 1, 2, dtype=torch.bfloat16)
    output[0, 0, 0] = 0  # 256 against 257, both 256 in bfloat16
    assert int(hits(output, torch.tensor([1]))) == 1


def test_batches_of_any_size_add_up():
    accuracy = Accuracy()
    with pytest.raises(StateError, match="at least one add"):
        accuracy.compute()
    accuracy.add(spikes([[1, 0], [1, 0], [1, 0]]), torch.tensor([0, 0, 1]))
    accuracy.add(spikes([[0, 1]]), torch.tensor([1]))
    assert (accuracy.correct, accuracy.count, accuracy.compute()) == (3, 4, 0.75)


@pytest.mark.parametrize(("shape", "labels"), [((4, 3), 3), ((2, 3, 4), 2), ((2, 2, 3, 4), 2)])
def test_other_shapes_are_refused(shape, labels):
    with pytest.raises(ArgumentError, match=r"hits.spike_seq: must be \[T, B, C\]"):
        hits(torch.zeros(shape), torch.zeros(labels, dtype=torch.int64))
