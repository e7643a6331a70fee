"""Weights from files: what loads, and what is said when it does not."""

from __future__ import annotations

import pytest
import torch

from snncore import model
from snncore.errors import ArgumentError, CheckpointError
from snncore.neuron import ParametricLIFNode

from .test_keys import resnet_keys

SMALL = {"channels": 2, "num_classes": 3}


def weights(seed=0, **more):
    torch.manual_seed(seed)
    return model.spiking_resnet18(**{**SMALL, **more}).state_dict()


def equal(net, want):
    return all(torch.equal(net.state_dict()[key], value) for key, value in want.items())


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of downloads, and an empty folder to work in."""
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return folder


def test_a_weight_file_of_torchvision_loads(cache):
    torch.manual_seed(0)
    whole = {key: torch.rand(shape) for key, shape in resnet_keys("resnet18").items() if not key.endswith("_tracked")}
    torch.save(whole, "resnet18-f37072fd.pth")
    assert equal(model.spiking_resnet18(pretrained="resnet18-f37072fd.pth"), whole)
    net = model.sew_resnet18("resnet18-f37072fd.pth", spiking_neuron=ParametricLIFNode, init_tau=3.0)
    assert equal(net, whole)
    assert 1 / net.sn1.w.sigmoid().item() == pytest.approx(3.0)


@pytest.mark.parametrize("wrap", [lambda w: w, lambda w: {"model": w, "epoch": 3}, lambda w: {"state_dict": w}])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_checkpoints_and_nets_of_ddp_load(cache, wrap, prefix):
    want = weights()
    torch.save(wrap({prefix + key: value for key, value in want.items()}), cache.parent / "w.pt")
    for pretrained in (str(cache.parent / "w.pt"), cache.parent / "w.pt"):
        assert equal(model.spiking_resnet18(pretrained=pretrained, **SMALL), want)


def test_a_state_dict_loads():
    assert equal(model.spiking_resnet18(pretrained=weights(1), **SMALL), weights(1))
    assert not equal(model.spiking_resnet18(pretrained=None, **SMALL), weights(1))


def test_a_name_is_looked_for_here_and_in_the_cache(cache):
    torch.save(weights(1), cache / "w.pth")
    assert equal(model.spiking_resnet18(pretrained="w.pth", **SMALL), weights(1))
    torch.save(weights(2), "w.pth")
    assert equal(model.spiking_resnet18(pretrained="w.pth", **SMALL), weights(2))


def test_true_is_the_file_of_torchvision(cache):
    torch.save(weights(1), cache / "resnet18-f37072fd.pth")
    torch.save(weights(2), cache / "resnet180-12345678.pth")
    assert equal(model.build("spiking_resnet18", pretrained=True, **SMALL), weights(1))
    torch.save(weights(2), cache / "resnet18-5c106cde.pth")
    with pytest.raises(ArgumentError, match=r"must name one of resnet18-5c106cde\.pth, resnet18-f37072fd\.pth in"):
        model.spiking_resnet18(pretrained=True, **SMALL)


def test_what_is_not_there_says_where_it_was_looked_for_and_what_exists(cache):
    torch.save(weights(), "here.pth")
    torch.save(weights(), cache / "there.pt")
    (cache / "notes.txt").touch()
    with pytest.raises(ArgumentError) as error:
        model.spiking_resnet18(pretrained="her.pth", **SMALL)
    told = str(error.value)
    here = cache.parents[1] / "work"
    for part in ("spiking_resnet18.pretrained: must be a file, got 'her.pth'", f"{here}/her.pth", f"{cache}/her.pth",
                 f"in {here} there are here.pth", f"in {cache} there are there.pt"):  # fmt: skip
        assert part in told, told
    assert "notes.txt" not in told
    with pytest.raises(ArgumentError, match=r"the folder /nowhere does not exist"):
        model.spiking_resnet18(pretrained="/nowhere/w.pth", **SMALL)
    with pytest.raises(ArgumentError, match=r"must find resnet18-\*\.pth .* there are there\.pt; download"):
        model.spiking_resnet18(pretrained=True, **SMALL)
    told = r"spikformer_4_384\.pretrained: must be a path or a state_dict"
    with torch.device("meta"), pytest.raises(ArgumentError, match=told):
        model.spikformer_4_384(pretrained=True)
    with pytest.raises(ArgumentError, match=r"pretrained: must be False, True, a path or a state_dict, got 3"):
        model.spiking_resnet18(pretrained=3, **SMALL)


@pytest.mark.parametrize("content", [b"", b"not a file of torch"])
def test_a_damaged_file_is_named(cache, content):
    (cache / "w.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"must be a file that torch\.load reads .*w\.pth"):
        model.spiking_resnet18(pretrained="w.pth", **SMALL)


@pytest.mark.parametrize("content", [[1, 2], {"a": 3}, torch.ones(2)])
def test_a_file_without_weights_is_named(cache, content):
    torch.save(content, cache / "w.pth")
    with pytest.raises(CheckpointError, match=r"must hold a state_dict .*w\.pth"):
        model.spiking_resnet18(pretrained="w.pth", **SMALL)


def test_no_code_is_run_from_a_file(cache):
    class Evil:
        def __reduce__(self):
            return print, ("run",)

    torch.save({"a": Evil()}, cache / "w.pth")
    with pytest.raises(CheckpointError, match="weights_only=True"):
        model.spiking_resnet18(pretrained="w.pth", **SMALL)


def test_what_does_not_fit_is_named_and_nothing_is_loaded():
    wrong = weights(num_classes=5)
    del wrong["conv1.weight"]
    wrong["fc2.weight"] = torch.ones(1)
    with pytest.raises(CheckpointError) as error:
        model.spiking_resnet18(pretrained=wrong, **SMALL)
    for part in ("1 missing (conv1.weight)", "1 unknown (fc2.weight)", "2 of another shape (fc.weight [5, 16] instead "
                 "of [3, 16], fc.bias [5]", "num_classes"):  # fmt: skip
        assert part in str(error.value), str(error.value)


UNUSED = {
    "spikformer_4_384": ["block.0.norm1.weight", "block.1.norm2.bias"],
    "sdt_2_512": ["block.0.attn.talking_heads.weight"],
}


@pytest.mark.parametrize("name", UNUSED)
def test_what_published_files_hold_for_nothing_is_passed_over(name):
    small = {"dim": 16, "num_heads": 2, "depth": 2}
    want = model.build(name, **small).state_dict()
    more = {key: torch.ones(16) for key in UNUSED[name]}
    assert equal(model.build(name, pretrained={**want, **more}, **small), want)
    with pytest.raises(CheckpointError, match=r"1 unknown \(block\.0\.norm3\.weight\)"):
        model.build(name, pretrained={**want, **more, "block.0.norm3.weight": torch.ones(16)}, **small)
