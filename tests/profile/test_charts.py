"""The figures of the page, by their numbers."""

from __future__ import annotations

import base64
import re
import zlib

import pytest
import torch

from snncore.profile.charts import Bar, bars, heat, picture, raster, ticks


@pytest.mark.parametrize(
    ("largest", "expected"),
    [
        (1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (24.2, [0, 5, 10, 15, 20, 25]), (6.0, [0, 1, 2, 3, 4, 5, 6]),
        (189.0, [0, 50, 100, 150, 200]), (3e-5, [0, 1e-5, 2e-5, 3e-5]), (0.0, [0, 1]),
    ],
)  # fmt: skip
def test_ticks_are_round_and_reach_the_largest(largest, expected):
    assert ticks(largest) == pytest.approx(expected)


def test_the_length_of_a_bar_is_its_value():
    text = bars([Bar("a", (("ac", 5.0), ("mac", 10.0)), "15 nJ"), Bar("b", (("ac", 0.0),), "0 nJ")], "nJ")
    assert re.findall(r'<i class="(\w+)" style="width:([\d.]+)%"', text) == [("ac", "33.333"), ("mac", "66.667")]
    assert re.findall(r'<b style="left:([\d.]+)%">([^<]+)', text)[-1] == ("100.000", "15")


def test_names_cannot_be_markup():
    assert "<script>" not in bars([Bar("<script>", (), "<script>", "<script>")], "<script>")
    assert "<script>" not in heat([("<script>", [1.0])], "ac", str)
    assert "<script>" not in raster(torch.zeros(1, 1, dtype=torch.bool), "<script>", "<script>", ["<script>"])


def test_a_mark_for_every_run_of_spikes():
    spikes = torch.tensor([[1, 0, 0], [1, 0, 1], [0, 0, 1], [1, 0, 1]], dtype=torch.bool)  # [T, n]
    (path,) = re.findall(r'<path d="([^"]*)"', raster(spikes, "lif", "3 neurons"))
    assert path == "M0 0h2v1h-2z" + "M3 0h1v1h-1z" + "M1 2h3v1h-3z"
    assert 'viewBox="0 0 4 3"' in raster(spikes, "lif", "3 neurons")


def test_a_heat_map_shades_by_the_largest():
    shares = r"var\(--ac\) ([\d.]+)%"
    rows = [("a", [0.0, 2.0]), ("b", [4.0, 1.0])]
    assert re.findall(shares, heat(rows, "ac", str)) == ["0.0", "32.5", "65.0", "16.2"]
    assert re.findall(shares, heat(rows, "ac", str, by_row=True)) == ["0.0", "65.0", "65.0", "16.2"]
    long = heat([("a", [0.0] * 29 + [3.0])], "ac", str)
    assert long.count("<rect") == 30 and "0.0 to 3.0" in long


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_picture_is_a_png_of_its_pixels(channels):
    image = torch.tensor([0.0, 1.0, 0.5, 2.0]).view(1, 2, 2).repeat(channels, 1, 1)
    head, data = picture(image).split(",")
    png = base64.b64decode(data)
    assert head == "data:image/png;base64" and png.startswith(b"\x89PNG\r\n\x1a\n")
    assert png[16:24] == b"\0\0\0\2\0\0\0\2" and png[25] == (2 if channels == 3 else 0)
    size = int.from_bytes(png[33:37], "big")
    lines = zlib.decompress(png[41 : 41 + size])
    n = 3 if channels == 3 else 1
    assert lines == b"\0" + b"\0" * n + b"\xff" * n + b"\0" + b"\x80" * n + b"\xff" * n
