"""Counts over two processes are those of one that saw all samples."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from snncore.metric import Activity, Classification, MembraneUpdates
from snncore.neuron import IFNode, LIFNode

T = 4


def _inputs():
    x = torch.randn(T, 7, 5, generator=torch.Generator().manual_seed(0)) * 3
    return x, torch.tensor([0, 1, 2, 0, 1, 2, 2])


def _count(parts, **where):
    """Count the samples of ``parts``; of the last part, only the first layer and two steps."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 6), LIFNode(step_mode="m"), nn.Linear(6, 3), IFNode(step_mode="m"))
    x, label = _inputs()
    result = Classification(3, topk=(1, 2))
    with torch.no_grad(), Activity(net, raster_samples=1) as activity, MembraneUpdates(net) as updates:
        for part in parts:
            result.update(net(x[:, part]), label[part])
            net[1](net[0](x[:2, part]))
    return {
        "classification": result.compute(**where).to_dict(),
        "activity": activity.compute(**where).to_dict(),
        "updates": updates.compute(**where).to_dict(),
        "rasters": len(activity.compute(**where).layers["1"].rasters),
    }


def _rank(rank, folder):
    torch.set_num_threads(1)
    store, limit = f"file://{folder}/store", timedelta(minutes=1)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2, timeout=limit)
    try:
        uneven = _count([[0, 1, 2], [3]] if rank == 0 else [[4, 5, 6]])
        local = _count([[rank]], local=True) if rank == 0 else None  # local is no collective: rank 1 is not asked
        empty = Classification(3)
        if rank == 0:
            empty.update(torch.eye(3), torch.arange(3))
        one = empty.compute().to_dict()
        bad = Classification(3)
        bad.update(torch.eye(3), torch.arange(3))
        if rank == 1:
            bad._cells[-1] = 1
        try:
            bad.compute()
            said = ""
        except ValueError as error:
            said = str(error)
    finally:
        dist.destroy_process_group()
    Path(folder, f"{rank}.json").write_text(json.dumps([uneven, local, one, said]))


@pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="torch has no gloo")
def test_two_ranks_count_what_one_process_counts(tmp_path, monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    torch.multiprocessing.spawn(_rank, (str(tmp_path),), nprocs=2)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    whole = json.loads(json.dumps(_count([[0, 1, 2, 3, 4, 5, 6]])))
    assert first[0] == second[0] == whole
    assert whole["classification"]["samples"] == 7
    assert whole["activity"]["layers"]["1"]["samples"] == 14
    assert first[1] == json.loads(json.dumps(_count([[0]])))
    assert first[2] == second[2]
    assert first[2]["confusion"] == torch.eye(3, dtype=torch.int64).tolist()
    assert first[3] == second[3] != ""  # what one rank saw, all of them say
