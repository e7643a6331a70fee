"""A report as a table for people and as plain values for programs."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from .gather import LayerRow
from .statistics import Statistics, statistics

if TYPE_CHECKING:
    from .report import Report

__all__ = ["ASSUMPTIONS", "FORMAT", "amount", "as_dict", "as_text", "count", "share", "size", "summary"]

FORMAT = "snncore.sop_report/1"
WIDTH = 100
ASSUMPTIONS = (
    "one sample at a time; nothing is kept near the arithmetic from one step to the next",
    "weights streamed: every layer reads its own, biases too, once per evaluation",
    "weights fetched: every counted operation reads its own weight",
    "spikes: written at 1 bit per neuron and step; read at 1 bit per element of {0, 1}, 2 bits of {-1, 0, 1}, else as "
    "values",
    "potentials: every state is read and written once per step; input is summed up where it is computed",
    "batch norm, pooling and sums move nothing",
)


def count(value: float) -> str:
    """Return a number of operations, at most 13 characters; a mean below 1000 with a decimal if it has one."""
    if value >= 1e10:
        return f"{value:.4e}"
    return f"{value:,.1f}" if value < 1000 and value != round(value) else f"{value:,.0f}"


def amount(value: float) -> str:
    """Return a figure to four digits."""
    return f"{value:.4g}"


def share(value: float) -> str:
    """Return a rate to three decimals; one that is not zero never looks like zero."""
    return "<0.001" if 0 < value < 0.0005 else f"{value:.3f}"


def size(value: float) -> str:
    """Return a number of bytes with its unit (powers of 1000)."""
    power = 0
    while value >= 1000 and power < 3:
        value, power = value / 1000, power + 1
    return f"{value:.4g} {('B', 'kB', 'MB', 'GB')[power]}"


def first_layer_rule(report: Report) -> str:
    """Return how the first layer is counted, in words."""
    if report.steps == 1:
        return "every layer counted once (one step)"
    if not any(row.static for row in report.layers):
        return "first layer at every step (its input differs from step to step)"
    names = ", ".join(row.name or "(net)" for row in report.layers if row.static)
    times = "once" if report.first_layer == "once" else f"T times ({report.steps})"
    return f"first layer counted {times} (same input at every step: {names})"


def interval(of: Statistics) -> str:
    """Return the confidence interval in words."""
    if of.low is None or of.high is None:
        return "no confidence interval"
    return f"95 % CI of the mean [{amount(of.low)}, {amount(of.high)}]"


def as_text(report: Report) -> str:
    """Return the table, at most 100 columns wide."""
    lines = [f"{'layer':<22}{'kind':<8}{'input':<9}{'rate':>6}{'AC':>14}{'MAC':>14}{'dense':>14}{'mJ':>11}"]
    lines += [_line(report, row) for row in report.layers]
    for m in report.not_counted:
        lines += _wrapped("", f"{', '.join(m.layers)}: {m.operator}: not counted: {m.why}")
    s = report.statistics
    numbers = f"{count(s['ac'].mean):>14}{count(s['mac'].mean):>14}{count(report.dense):>14}"
    lines += [f"{'per sample, mean':<45}{numbers}{amount(s['energy_mJ'].mean):>11}", ""]
    for head, text in (*summary(report), *(("note", note) for note in report.notes)):
        lines += _wrapped(f"{head:<12}", text)
    return "\n".join(lines)


def summary(report: Report) -> list[tuple[str, str]]:
    """Return (heading, sentence) of the energy, its conditions, and what stands beside it."""
    c, m, e = report.cost, report.memory_cost, report.statistics["energy_mJ"]
    t, r = report.traffic, report.relu_traffic
    price = f"AC x {c.ac:g} pJ" + ("" if c.mac is None else f" + MAC x {c.mac:g} pJ")
    scope = "the memory of the synapses is in it" if c.memory_included else "operations only, no memory"
    on_top = "already in that figure; of another machine" if c.memory_included else "on top, an estimate"
    relu = "no figure" if report.relu_energy is None else f"{amount(report.relu_energy)} mJ"
    return [
        (
            "counted",
            f"mode {report.mode}, T = {report.steps}, data set {report.dataset or 'not named'}, {report.samples:,} "
            f"samples, {first_layer_rule(report)}",
        ),
        (
            "energy",
            f"{amount(e.mean)} mJ per sample = {price}; median {amount(e.median)} mJ, {interval(e)} (Student t, n = "
            f"{report.samples:,}); {c.name}: {c.source}; {scope}",
        ),
        (
            "memory",
            f"{on_top}: {amount(t.millijoules(m))} mJ per sample if every layer streams its weights once per "
            f"evaluation ({size(t.weights_streamed)}), {amount(t.millijoules(m, fetched=True))} mJ if every operation "
            f"fetches its own ({size(t.weights_fetched)}); spikes {size(t.spikes_written)} written and "
            f"{size(t.spikes_read)} read, potentials {size(t.potentials)}; {m.name}: {m.source}",
        ),
        (
            "ReLU twin",
            f"the same layers with ReLU, dense, one pass, no T: {count(report.relu_mac)} MAC, {relu}; memory "
            f"{amount(r.millijoules(m))} mJ streamed ({size(r.weights_streamed)}), "
            f"{amount(r.millijoules(m, fetched=True))} mJ fetched ({size(r.weights_fetched)}), activations "
            f"{size(r.activations_written)} written and {size(r.activations_read)} read",
        ),
    ]


def _wrapped(head: str, text: str) -> list[str]:
    return textwrap.wrap(head + text, WIDTH, subsequent_indent=" " * 12, break_long_words=True)


def _line(report: Report, row: LayerRow) -> str:
    name = row.name or "(net)"
    if row.static and report.first_layer == "once":
        name += " (once)"
    if len(name) > 21:
        name = name[:9] + ".." + name[-10:]
    values = "x".join(v if len(row.values) == 1 else v[:3] for v in row.values)
    numbers = f"{count(float(row.ac.mean())):>14}{count(float(row.mac.mean())):>14}"
    spent = report.layer_energy(row)
    energy = f"{'no figure' if spent is None else amount(spent):>11}"
    return f"{name:<22}{row.kind:<8}{values:<9}{share(row.rate):>6}{numbers}{count(row.dense):>14}{energy}"


def as_dict(report: Report, per_sample: bool) -> dict[str, Any]:
    """Return the report as plain values; docs/energy.md lists the keys."""
    c, m, t, r = report.cost, report.memory_cost, report.traffic, report.relu_traffic
    found: dict[str, Any] = {
        "format": FORMAT,
        "mode": report.mode,
        "first_layer": report.first_layer,
        "dataset": report.dataset,
        "samples": report.samples,
        "T": report.steps,
        **{key: value.to_dict() for key, value in report.statistics.items()},
        "interval": "95 %, two-sided, of the mean over samples, Student t",
        "dense": report.dense,
        "cost": {"name": c.name, "ac_pJ": c.ac, "mac_pJ": c.mac, "value_bytes": c.value_bytes, "source": c.source},
        "memory": {
            "bytes": t.to_dict(),
            "energy_streamed_mJ": t.millijoules(m),
            "energy_fetched_mJ": t.millijoules(m, fetched=True),
            "included_in_energy": c.memory_included,
            "cost": {
                "name": m.name, "weights_pJ_per_byte": m.weights, "spikes_pJ_per_byte": m.spikes,
                "potentials_pJ_per_byte": m.potentials, "source": m.source,
            },
            "assumptions": list(ASSUMPTIONS),
        },
        "relu": {
            "mac": report.relu_mac,
            "energy_mJ": report.relu_energy,
            "memory": {
                "bytes": r.to_dict(),
                "energy_streamed_mJ": r.millijoules(m),
                "energy_fetched_mJ": r.millijoules(m, fetched=True),
            },
        },
        "layers": [_layer(report, row) for row in report.layers],
        "not_counted": [{"layers": list(n.layers), "operator": n.operator, "why": n.why} for n in report.not_counted],
        "notes": list(report.notes),
    }  # fmt: skip
    if per_sample:
        ac, mac = report.totals()
        found["per_sample"] = {"ac": ac.tolist(), "mac": mac.tolist(), "energy_mJ": report.energy().tolist()}
    return found


def _layer(report: Report, row: LayerRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "kind": row.kind,
        "input": list(row.values),
        "rate": row.rate,
        "ac": statistics(row.ac).to_dict(),
        "mac": statistics(row.mac).to_dict(),
        "dense": row.dense,
        "energy_mJ": report.layer_energy(row),
        "weights": row.once.weights,
        "counted_once": row.static and report.first_layer == "once",
        "never_spikes": row.silent,
        "per_step": {
            "rate": row.rate_per_step.tolist(),
            "ac": row.ac_steps.mean(1).tolist(),
            "mac": row.mac_steps.mean(1).tolist(),
        },
    }
