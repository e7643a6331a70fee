"""The page: well-formed, whole in itself, and with the numbers of the profile."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from snncore import profile as room
from snncore.errors import ArgumentError
from snncore.metric.sop import EnergyCost
from snncore.train import fit, resolve

VOID = {"meta", "br", "img", "link", "hr", "input"}
TINY = {
    "model": {"channels": 2, "T": 3},
    "data": {"batch_size": 400},
    "energy": {"samples": 0},
    "train": {"epochs": 1, "threads": 1, "tensorboard": False, "keep_freed_blocks": False},
}


class Reader(HTMLParser):
    """Checks that what is opened is closed, and gathers tags, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute twice in {tag}"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"{tag} closes something else"

    def handle_data(self, data):
        if "style" not in self.open:
            self.words += data + " "


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = {"train": {"output_dir": str(tmp_path_factory.mktemp("page"))}}
    return room.load(fit(resolve([("tiny", TINY), ("folder", folder)]).config).folder)


@pytest.fixture(scope="module")
def made(saved):
    profile = room.profile(saved, samples=40, rasters=2)
    text = room.page(profile)
    return profile, text, Reader(text)


def test_it_is_well_formed(made):
    _, text, reader = made
    assert text.startswith("<!DOCTYPE html>\n")
    tags = [tag for tag, _ in reader.tags]
    assert tags.count("h1") == tags.count("title") == 1
    for tag, attributes in reader.tags:
        assert tag != "img" or attributes["alt"]


def test_it_needs_nothing_from_anywhere(made):
    _, text, reader = made
    for tag, attributes in reader.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base")
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "data", "srcset", "poster"):
            value = attributes.get(name, "")
            fine = value.startswith("data:image/png;base64,") or (tag == "a" and value.startswith("https://"))
            assert not value or fine, f"{tag} {name}={value[:60]}"
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    assert "url(" not in style and "@import" not in style and "prefers-color-scheme: dark" in style
    assert "@media print" in style and "max-width" in style
    (policy,) = [a["content"] for tag, a in reader.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def test_it_has_every_figure_and_number(made):
    profile, _, reader = made
    for number in range(1, 7):
        assert f"Figure {number}." in reader.words
    assert sum(tag == "img" for tag, _ in reader.tags) == 2, "a picture of each sample"
    assert sum(a.get("class") == "raster" for _, a in reader.tags) == 2 * 4, "and all its layers"
    words = " ".join(reader.words.split())
    report = profile.sop
    for part in (
        "Mode exact, T = 3, digits test (40 of 360, evenly spread), first layer counted once, cost fp32",
        f"= {report.statistics['energy_mJ'].mean:.4g} mJ per sample",
        f"{report.statistics['ac'].mean:,.0f}",
        "conv_fc.0 (once)",
        "weights, streamed",
        "the same layers with ReLU",
        "What the energy does not mean",
        "Horowitz, ISSCC 2014",
        "one sample at a time; nothing is kept near the arithmetic",
    ):
        assert part in words
    for note in (*report.notes, *(f"{name}: these neurons never spike" for name in profile.silent)):
        assert note in words


def test_names_cannot_be_markup(saved):
    mine = EnergyCost(1.0, 2.0, source="<b>mine & </b>", name="<i>mine</i>")
    text = room.page(room.profile(saved, samples=4, cost=mine, rasters=0))
    assert "&lt;b&gt;mine &amp; &lt;/b&gt;" in text and "<b>mine" not in text and "<i>mine" not in text
    assert "Spikes of" not in Reader(text).words


def test_one_sample_and_a_chip(saved):
    words = " ".join(Reader(room.page(room.profile(saved, samples=1, cost="loihi", rasters=1))).words.split())
    assert "one sample, no interval" in words and "no figure" in words
    assert "loihi has no figure for a multiply-accumulate" in words


@pytest.mark.parametrize(
    ("options", "message"), [({"samples": 0}, "profile.samples"), ({"rasters": -1}, "profile.rasters")]
)
def test_a_slip_is_told(saved, options, message):
    with pytest.raises(ArgumentError, match=rf"{message}: must be an integer >= "):
        room.profile(saved, **options)


def test_layers_that_never_spike_are_named(saved):
    before = {name: value.clone() for name, value in saved.net.state_dict().items()}
    saved.net.conv_fc[9].weight.data.zero_()  # nothing reaches the last two layers
    try:
        profile = room.profile(saved, samples=5)
        assert {"conv_fc.10", "conv_fc.12"} <= set(profile.silent) and "conv_fc.2" not in profile.silent
        assert profile.to_dict()["never_spike"] == list(profile.silent)
        assert "conv_fc.10: these neurons never spike" in Reader(room.page(profile)).words
        neurons = str(profile).split("neurons    ")[-1]
        assert neurons.count("never spikes") == len(profile.silent)
    finally:
        saved.net.load_state_dict(before)
