"""Counts of several processes are one exact count."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest
import torch
from sop_reading import operations
from torch import nn

from snncore import functional, layer
from snncore.metric import SopCounter
from snncore.metric.sop.ranks import merged
from snncore.neuron import IFNode

T, SAMPLES = 3, 7
MODES = ("exact", "paper", "spikingjelly")

pytestmark = pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()), reason="this torch has no gloo"
)


def net():
    torch.manual_seed(0)
    built = nn.Sequential(
        layer.Conv2d(1, 4, 3, padding=1), IFNode(v_threshold=0.5), layer.Flatten(), layer.Linear(64, 5)
    )
    functional.set_step_mode(built, "m")
    return built


def data():
    return torch.rand(T, SAMPLES, 1, 4, 4, generator=torch.Generator().manual_seed(1))


def shares(rank):
    """Return the batches of a rank: rank 0 has five samples in two batches, rank 1 has two, others none."""
    return [data()[:, :3], data()[:, 3:5]] if rank == 0 else [data()[:, 5:]] if rank == 1 else []


def as_lists(sop, **options):
    return {mode: [(n, k, a.tolist(), m.tolist()) for n, k, a, m in operations(sop, mode, **options)] for mode in MODES}


def one_process():
    built = net()
    with torch.no_grad(), SopCounter(built) as sop:
        built(data())
    return as_lists(sop)


def run_rank():
    """One process of the test below; prints what it counted."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    wrapped = nn.parallel.DistributedDataParallel(net())
    with torch.no_grad(), SopCounter(wrapped) as sop:
        for x in shares(rank):
            wrapped(x)
    together = as_lists(sop)
    own = as_lists(sop, across_ranks=False) if shares(rank) else None
    torch.distributed.destroy_process_group()
    print("@@" + json.dumps({"together": together, "own": own}))


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_with_uneven_shares_count_as_one(world):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(world):
        env = os.environ | {
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": str(world),
            "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path]),
        }  # fmt: skip
        code = "import test_sop_ranks; test_sop_ranks.run_rank()"
        started.append(subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True))
    try:
        outputs = [process.communicate(timeout=100)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    results = [json.loads(output.split("@@")[1]) for output in outputs]
    want = json.loads(json.dumps(one_process()))
    for result in results:
        for mode in MODES:
            rows = [(name.removeprefix("module."), *rest) for name, *rest in result["together"][mode]]
            assert rows == [tuple(row) for row in want[mode]]
    assert len(results[0]["own"]["exact"][0][3]) == 5 and len(results[1]["own"]["exact"][0][3]) == 2


def test_joining_keeps_layers_that_only_some_ranks_ran():
    built = net()
    with torch.no_grad(), SopCounter(built) as one, SopCounter(built[3]) as other:
        built(data())
    joined = merged([one.record, other.record, one.record])
    assert joined.samples == [SAMPLES] * 3 and joined.forwards == 3
    assert {key[0]: sorted(rec.runs) for key, rec in joined.layers.items()} == {"0": [0, 2], "3": [0, 2], "": [1]}
