"""The few figures of the page, as HTML and SVG that need no script: bars, heat maps over time, rasters, pictures."""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import torch
from torch import Tensor

__all__ = ["Bar", "bars", "heat", "legend", "picture", "raster", "ticks"]

_COLUMNS = 12  # steps that a heat map shows with their numbers


@dataclass(frozen=True)
class Bar:
    """A bar: its name, (colour class, length) of its parts, and what stands behind it; ``head`` starts a group."""

    name: str
    parts: tuple[tuple[str, float], ...]
    text: str
    head: str = ""


def ticks(largest: float) -> list[float]:
    """Return 3 to 7 round numbers from 0 to the first that is not below ``largest``."""
    if not largest > 0:
        return [0.0, 1.0]
    power = 10.0 ** math.floor(math.log10(largest / 3))
    step = next(power * k for k in (1, 2, 5, 10) if largest / (power * k) <= 6)
    return [step * k for k in range(math.ceil(largest / step - 1e-9) + 1)]


def bars(rows: Sequence[Bar], axis: str) -> str:
    """Return horizontal bars with a common axis that is labelled ``axis``."""
    marks = ticks(max((sum(length for _, length in row.parts) for row in rows), default=0.0))
    end = marks[-1]
    found = [f'<div class="bars" style="--step:{100 / (len(marks) - 1):.4f}%">']
    for row in rows:
        if row.head:
            found.append(f'<div class="head">{escape(row.head)}</div>')
        parts = "".join(
            f'<i class="{kind}" style="width:{100 * length / end:.3f}%"></i>' for kind, length in row.parts if length
        )
        found.append(
            f'<span class="name">{escape(row.name)}</span><span class="track">{parts}</span>'
            f'<span class="value">{escape(row.text)}</span>'
        )
    labels = "".join(f'<b style="left:{100 * mark / end:.3f}%">{mark:g}</b>' for mark in marks)
    found.append(f'<span></span><span class="ticks">{labels}</span><span></span>')
    found.append(f'<span class="axis">{escape(axis)}</span></div>')
    return "".join(found)


def legend(entries: Sequence[tuple[str, str]]) -> str:
    """Return what colours mean: (colour class, words)."""
    return '<div class="legend">' + "".join(
        f'<span><i class="{kind}"></i>{escape(words)}</span>' for kind, words in entries
    ) + "</div>"  # fmt: skip


def heat(
    rows: Sequence[tuple[str, Sequence[float]]],
    colour: str,
    text: Callable[[float], str],
    columns: Sequence[str] = (),
    corner: str = "time step",
    by_row: bool = False,
) -> str:
    """Return a row of cells for each (name, values), the darker the larger, ``by_row``: among those of its row.

    Numbers stand in the cells if ``columns`` names them, or if they are few steps; else a strip shows them.
    """
    largest = max((value for _, values in rows for value in values), default=0.0) or 1.0
    steps = max((len(values) for _, values in rows), default=0)
    numbers = bool(columns) or steps <= _COLUMNS
    names = columns or [str(t + 1) for t in range(steps)]
    head = "".join(f"<th>{escape(name)}</th>" for name in names) if numbers else f"<th>1 to {steps}</th><th>range</th>"
    body = []
    for name, values in rows:
        largest = (max(values, default=0.0) or 1.0) if by_row else largest
        if numbers:
            cells = "".join(f'<td class="cell" style="{_shade(v / largest, colour)}">{text(v)}</td>' for v in values)
        else:
            cells = f"<td>{_strip(values, largest, colour)}</td><td>{text(min(values))} to {text(max(values))}</td>"
        body.append(f'<tr><td class="words">{escape(name)}</td>{cells}</tr>')
    table = f'<tr><th class="words">{escape(corner)}</th>{head}</tr>{"".join(body)}'
    return f'<div class="scroll"><table class="heat">{table}</table></div>'


def _strip(values: Sequence[float], largest: float, colour: str) -> str:
    cells = "".join(
        f'<rect x="{t}" width="1.02" height="1" style="fill:var(--{colour});opacity:{v / largest:.3f}"/>'
        for t, v in enumerate(values)
    )
    return f'<svg class="strip" viewBox="0 0 {len(values)} 1" preserveAspectRatio="none">{cells}</svg>'


def _shade(share: float, colour: str) -> str:
    return f"background:color-mix(in srgb, var(--{colour}) {65 * share:.1f}%, var(--panel))"


def raster(spikes: Tensor, title: str, text: str, labels: Sequence[str] = ()) -> str:
    """Return the spikes bool [T, n] of one sample: time to the right, a row per neuron, the first on top.

    Args:
        spikes: where a neuron spiked.
        title: what stands above.
        text: and below that.
        labels: names of all neurons, in their order; none: first and last number.
    """
    T, n = spikes.shape
    runs = "".join(f"M{a} {i}h{b - a}v1h{a - b}z" for i, a, b in _runs(spikes))
    named = len(labels) == n and n <= 20
    height = max(13 * n, 96) if named else min(max(n, 96), 256)
    rows = [escape(label) for label in labels] if named else ["1", "<em>neuron</em>", f"{n}"]
    side = "".join(f"<span>{row}</span>" for row in rows)
    return (
        f'<div class="raster"><div class="title"><b>{escape(title)}</b>{escape(text)}</div><div class="plot">'
        f'<div class="side" style="height:{height}px;line-height:13px">{side}</div>'
        f'<svg viewBox="0 0 {T} {n}" preserveAspectRatio="none" height="{height}" role="img" '
        f'aria-label="{escape(f"spikes of {title}")}"><path d="{runs}"/></svg>'
        f'<div class="below"><span>1</span><span>time step</span><span>{T}</span></div></div></div>'
    )


def _runs(spikes: Tensor) -> list[tuple[int, int, int]]:
    """Return (neuron, first step, step after the last) of every unbroken run of spikes."""
    edge = torch.zeros(1, spikes.shape[1], dtype=torch.int8)
    change = torch.diff(torch.cat([edge, spikes.to(torch.int8), edge]), dim=0).t()  # [n, T + 1]
    begins, ends = (change == 1).nonzero().tolist(), (change == -1).nonzero().tolist()
    return [(i, a, b) for (i, a), (_, b) in zip(begins, ends, strict=True)]


def picture(image: Tensor) -> str:
    """Return the image [C, H, W], values in [0, 1], as a PNG in a data: address.

    In colour if C is 3, else the mean of its channels in grey.
    """
    image = image if image.shape[0] == 3 else image.mean(0, keepdim=True)
    pixels = (image.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous()
    height, width, channels = pixels.shape
    lines = b"".join(b"\0" + row.numpy().tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return "data:image/png;base64," + base64.b64encode(png).decode()
