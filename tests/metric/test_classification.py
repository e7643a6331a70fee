"""Top-k, confusion matrix, precision, recall, F1: numbers by hand, and scikit-learn's where it is installed."""

from __future__ import annotations

import json

import pytest
import torch

from snncore.errors import ArgumentError, StateError
from snncore.metric import Accuracy, Classification

# Scores of 6 samples and 4 classes. True:      0  0  1  1  2  2; class 3 has no sample.
# Predicted (first of the highest):             0  1  1  1  3  0 (a tie of 0 and 2).
SCORES = torch.tensor(
    [[9, 0, 0, 0], [1, 9, 0, 0], [0, 5, 4, 3], [1, 2, 0, 0], [0, 1, 2, 3], [7, 0, 7, 1]], dtype=torch.float32
)
LABELS = torch.tensor([0, 0, 1, 1, 2, 2])


def counted(scores=SCORES, labels=LABELS, topk=(1, 2, 4), classes=4):
    result = Classification(classes, topk=topk)
    result.update(scores, labels)
    return result.compute()


def test_by_hand():
    report = counted()
    assert report.confusion.dtype == torch.int64
    assert report.confusion.tolist() == [[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0]]
    assert (report.samples, report.support, report.never_seen) == (6, [2, 2, 2, 0], [3])
    assert (report.accuracy, report.topk) == (3 / 6, {1: 3 / 6, 2: 1.0, 4: 1.0})
    assert report.precision == [1 / 2, 2 / 3, 0.0, 0.0]  # nothing was predicted as 2
    assert report.recall == report.per_class_accuracy == [1 / 2, 1.0, 0.0, 0.0]  # no sample is 3
    assert report.f1 == [2 / 4, 4 / 5, 0.0, 0.0]
    assert report.macro_precision == (1 / 2 + 2 / 3) / 4
    assert report.macro_recall == 1.5 / 4
    assert report.macro_f1 == (0.5 + 0.8) / 4
    plain = json.loads(json.dumps(report.to_dict()))
    assert (plain["confusion"][2], plain["topk"]["2"], plain["f1"][1]) == ([1, 0, 0, 1], 1.0, 0.8)


def test_equal_scores_rank_the_lower_class_first():
    report = counted(torch.zeros(4, 4), torch.arange(4), topk=(1, 2, 3, 4))
    assert report.confusion[:, 0].tolist() == [1, 1, 1, 1]
    assert report.topk == {1: 0.25, 2: 0.5, 3: 0.75, 4: 1.0}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64])
def test_batches_add_up_in_any_dtype(dtype):
    result = Classification(4, topk=(1, 2, 4))
    for rows in ([0], [1, 2, 3], [], [4, 5]):
        result.update(SCORES[rows].to(dtype), LABELS[rows].to(torch.uint8 if rows else torch.int64))
    report = result.compute()
    assert torch.equal(report.confusion, counted().confusion)
    assert report.topk == counted().topk
    result.update(SCORES, LABELS)  # what was computed is not touched by what comes later
    assert report.samples == 6


def test_spikes_over_time_are_summed_as_the_accuracy_sums_them():
    steps = torch.arange(257).view(-1, 1, 1)
    spikes = (steps < torch.tensor([[257, 256], [3, 200], [256, 257]])).to(torch.bfloat16)
    labels, accuracy, result = torch.tensor([0, 0, 1]), Accuracy(), Classification(2)
    accuracy.add(spikes, labels)
    result.update(spikes.requires_grad_(), labels)
    assert result.compute().confusion.tolist() == [[1, 1], [0, 1]]
    assert result.compute().accuracy == accuracy.compute() == result.compute().topk[1]


def test_many_random_batches_against_sorting():
    generator = torch.Generator().manual_seed(0)
    result, confusion, hits = Classification(7, topk=(3,)), torch.zeros(7, 7, dtype=torch.int64), 0
    for _ in range(30):
        scores = torch.randint(0, 4, (11, 7), generator=generator).float()  # many ties
        labels = torch.randint(0, 7, (11,), generator=generator)
        result.update(scores, labels)
        for row, label in zip(scores.tolist(), labels.tolist(), strict=True):
            order = sorted(range(7), key=lambda c: (-row[c], c))
            confusion[label, order[0]] += 1
            hits += label in order[:3]
    assert torch.equal(result.compute().confusion, confusion)
    assert result.compute().topk == {3: hits / 330}


BAD_BATCHES = [
    (SCORES, LABELS + 2, r"label: must be in 0..3, got 4"),
    (SCORES, LABELS - 1, r"label: must be in 0..3, got -1"),
    (SCORES, LABELS.float(), "label: must be whole numbers, got torch.float32"),
    (SCORES, LABELS.bool(), "label: must be whole numbers, got torch.bool"),
    (SCORES[:, :3], LABELS, r"score: must be \[B, 4\] or \[T, B, 4\]"),
    (SCORES, LABELS[:5], r"score: must be \[B, 4\] or \[T, B, 4\]"),
    (SCORES[0], LABELS[:1], r"score: must be \[B, 4\]"),
    (SCORES.masked_fill(SCORES == 5, float("nan")), LABELS, "got 1 samples with a NaN score"),
]


@pytest.mark.parametrize(("scores", "labels", "message"), BAD_BATCHES)
def test_bad_batches_are_refused_and_not_counted(scores, labels, message):
    result = Classification(4)
    result.update(SCORES, LABELS)
    with pytest.raises(ArgumentError, match=message):
        result.update(scores, labels)
    assert result.compute().samples == 6


def test_bad_arguments_and_no_sample():
    for classes in (0, -1, 2.0, True):
        with pytest.raises(ArgumentError, match=r"Classification.classes: must be a whole number >= 1"):
            Classification(classes)
    for k in (0, 5, 1.0):
        with pytest.raises(ArgumentError, match=r"Classification.topk: must be in 1..4"):
            Classification(4, topk=(1, k))
    result = Classification(4, topk=())
    with pytest.raises(StateError, match="no sample"):
        result.compute()
    result.update(SCORES, LABELS)
    assert result.compute().topk == {}


def test_what_a_gpu_cannot_say_at_once_is_said_at_the_end():
    result = Classification(4)
    result.update(SCORES, LABELS)
    result._cells[-1] += 2  # as update does on a GPU
    with pytest.raises(ArgumentError, match=r"got 2 samples with a NaN score or another label"):
        result.compute()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu():
    result = Classification(4, topk=(1, 2, 4))
    for rows in ([0], [1, 2, 3], [4, 5]):
        result.update(SCORES[rows].cuda(), LABELS[rows].cuda() if len(rows) > 1 else LABELS[rows])
    assert torch.equal(result.compute().confusion, counted().confusion)
    assert result.compute().topk == counted().topk
    result.update(SCORES.cuda(), LABELS.cuda() + 2)
    with pytest.raises(ArgumentError, match=r"got 2 samples with a NaN score or another label"):
        result.compute()


def test_equals_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    generator = torch.Generator().manual_seed(1)
    scores, labels = torch.rand(300, 9, generator=generator), torch.randint(0, 8, (300,), generator=generator)
    scores[:, 4] = 0
    report, predicted, names = counted(scores, labels, (1, 3), 9), scores.argmax(1), list(range(9))
    assert report.confusion.tolist() == metrics.confusion_matrix(labels, predicted, labels=names).tolist()
    rows = metrics.precision_recall_fscore_support(labels, predicted, labels=names, zero_division=0)
    for mine, theirs in zip((report.precision, report.recall, report.f1, report.support), rows, strict=True):
        assert mine == pytest.approx(theirs.tolist(), abs=1e-15)
    assert report.topk[3] == pytest.approx(metrics.top_k_accuracy_score(labels, scores, k=3, labels=names))
