"""The figures of the page: what is drawn, with titles, units and captions."""

from __future__ import annotations

import math
from html import escape

from ..metric.sop.gather import LayerRow
from ..metric.sop.table import amount, count
from .charts import Bar, bars, heat, legend, picture, raster
from .measure import Profile

__all__ = ["energy_text", "figure", "figures", "name_of", "rasters", "unit_of"]

_UNITS = (("mJ", 1.0), ("µJ", 1e3), ("nJ", 1e6), ("pJ", 1e9))  # in a millijoule


def unit_of(largest: float) -> tuple[str, float]:
    """Return the unit in which ``largest`` millijoules are 1 or more, and what to multiply with."""
    return next((unit for unit in _UNITS if largest * unit[1] >= 1), _UNITS[-1])


def energy_text(millijoules: float) -> str:
    """Return an energy in a unit that suits it."""
    name, factor = unit_of(millijoules)
    return f"{amount(millijoules * factor)} {name}"


def figure(number: int, title: str, caption: str, content: str) -> str:
    """Return ``content`` over its title and caption."""
    return (
        f"<figure>{content}<figcaption><b>Figure {number}. {escape(title)}</b> {escape(caption)}</figcaption></figure>"
    )


def figures(p: Profile) -> str:
    """Return figures 1 to 5: rates, operations and energy by layer and step, and what the energy leaves out."""
    r = p.sop
    n = f"{r.samples:,} samples"
    layers = p.activity.layers
    rates = [
        Bar(name, (("rate", 100 * layer.firing_rate),), f"{100 * layer.firing_rate:.1f} %")
        for name, layer in layers.items()
    ]
    per_step = [(name, [100 * rate for rate in layer.firing_rate_per_step]) for name, layer in layers.items()]
    operations = [(name_of(row), row.per_step.tolist()) for row in r.layers]
    first = figure(
        1, "Firing rate by layer of neurons.", f"Share of neurons and steps with a spike; mean over {n}.",
        bars(rates, "firing rate in %"),
    )  # fmt: skip
    second = figure(
        2, "Firing rate over time.", f"In % of the neurons of a layer, by time step; mean over {n}.",
        heat(per_step, "rate", lambda v: f"{v:.1f}"),
    )  # fmt: skip
    fourth = figure(
        4, "Operations over time.",
        f"Accumulates and multiply-accumulates of a layer by time step; mean over {n}. Shaded "
        "within each layer."
        + (" What is computed once stands in the first step." if any(x.static for x in r.layers) else ""),
        heat(operations, "ac", count, by_row=True),
    )  # fmt: skip
    return (
        f'<h2>Activity and energy</h2><div class="pair">{first}{second}{_energy_by_layer(p)}{fourth}</div>'
        + _context(p)
    )


def _energy_by_layer(p: Profile) -> str:
    r, c = p.sop, p.sop.cost
    parts = [(row, c.millijoules(float(row.ac.mean()), 0), c.millijoules(0, float(row.mac.mean()))) for row in r.layers]
    unit, factor = unit_of(max(ac + mac for _, ac, mac in parts))
    rows = []
    for row, ac, mac in parts:
        known = r.layer_energy(row) is not None
        text = f"{amount((ac + mac) * factor)} {unit}" if known else "no figure"
        rows.append(Bar(name_of(row), (("ac", ac * factor), ("mac", mac * factor)), text))
    price = [("ac", f"accumulates, {c.ac:g} pJ each")]
    if c.mac is not None:
        price.append(("mac", f"multiply-accumulates, {c.mac:g} pJ each"))
    return figure(
        3, "Energy by layer.", f"Operations alone, {c.source}; mean over {r.samples:,} samples.",
        legend(price) + bars(rows, f"energy per sample in {unit}"),
    )  # fmt: skip


def _context(p: Profile) -> str:
    """Figure 5: what the energy of the operations leaves out."""
    r, m = p.sop, p.sop.memory_cost
    own, relu = r.traffic, r.relu_traffic
    both = [
        ("this net", r.statistics["energy_mJ"].mean, own.millijoules(m), own.millijoules(m, fetched=True)),
        (
            "the same layers with ReLU, one dense pass",
            r.relu_energy,
            relu.millijoules(m),
            relu.millijoules(m, fetched=True),
        ),
    ]
    unit, factor = unit_of(max(value or 0.0 for _, *values in both for value in values))
    rows = []
    for head, operations, streamed, fetched in both:
        text = "no figure" if operations is None else f"{amount(operations * factor)} {unit}"
        rows += [
            Bar("operations", (("ac", (operations or 0.0) * factor),), text, head),
            Bar("memory, weights streamed", (("memory", streamed * factor),), f"{amount(streamed * factor)} {unit}"),
            Bar("memory, weights fetched", (("memory", fetched * factor),), f"{amount(fetched * factor)} {unit}"),
        ]
    included = " The figure of the chip has the memory of its synapses in it." if r.cost.memory_included else ""
    caption = (
        f"Estimated memory traffic ({m.source}): streamed, every layer reads its weights once per evaluation; fetched, "
        f"every operation reads its own. The two are alternatives and come on top of the operations.{included} Batch "
        "norm, neuron updates, control and idle power are in none of the bars."
    )
    marks = legend([("ac", "operations"), ("memory", "moving weights, spikes or activations, and potentials")])
    return figure(
        5, "What the energy of the operations leaves out.", caption, marks + bars(rows, f"energy per sample in {unit}")
    )


def name_of(row: LayerRow) -> str:
    """Return what a layer is called."""
    return row.name or "(net)"


def rasters(p: Profile) -> str:
    """Return the pictures and spikes of the samples that were kept."""
    if not p.samples:
        return ""
    found = []
    for i, sample in enumerate(p.samples):
        plots = []
        for name, layer in p.activity.layers.items():
            if i >= len(layer.rasters):
                continue
            spikes = layer.rasters[i]
            total = math.prod(layer.neurons)
            shown = f"{spikes.shape[1]:,} of {total:,} neurons" if spikes.shape[1] < total else f"{total:,} neurons"
            classes = p.saved.test.classes if total == p.saved.test.num_classes else ()
            plots.append(raster(spikes, name, shown, classes))
        verdict = "right" if sample.label == sample.said else "wrong"
        found.append(
            f'<div class="sample"><div class="picture"><img src="{picture(sample.picture)}" alt="input"><br>'
            f"class {escape(sample.label)}<br>net says {escape(sample.said)} ({verdict})</div>{''.join(plots)}</div>"
        )
    legend_line = (
        "A mark is a spike: time to the right, one row per neuron, evenly chosen where a layer has more than are shown."
    )
    return f'<h2>Spikes of {len(found)} samples</h2><p class="soft">{legend_line}</p>{"".join(found)}'
