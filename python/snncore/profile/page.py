"""A profile as one HTML file: no script, nothing from the network, light and dark, for screen and paper."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib import resources

from ..metric.sop.table import ASSUMPTIONS, amount, count, share, size, summary
from .charts import heat
from .figures import energy_text, figure, figures, name_of, rasters, unit_of
from .measure import Profile

__all__ = ["page"]

_SOURCES = (
    ("Horowitz, Computing's energy problem, ISSCC 2014", "https://doi.org/10.1109/ISSCC.2014.6757323"),
    ("Yik et al., NeuroBench", "https://arxiv.org/abs/2304.04640"),
    ("Zhou et al., Spikformer, ICLR 2023 (mode paper)", "https://arxiv.org/abs/2209.15425"),
    ("Lemaire et al., An analytical estimation of SNN energy, ICONIP 2022", "https://arxiv.org/abs/2210.13107"),
    ("Yan et al., Reconsidering the energy efficiency of SNNs", "https://arxiv.org/abs/2409.08290"),
    ("Bhattacharjee et al., Are SNNs truly energy-efficient?", "https://arxiv.org/abs/2309.03388"),
)
_CAUTION = (
    "It is a count of additions and multiplications times a published figure for each. It says nothing about clocks, "
    "control, leakage or idle power, and in real machines moving data usually costs more than computing with it. "
    "Figures of different papers compare only where mode, first layer, T and data set are the same."
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def page(profile: Profile) -> str:
    """Return the page as text."""
    c = profile.saved.config
    net = f"{c.model.name} on {profile.saved.test.name}: {c.neuron.name} neurons, T = {c.model.T}"
    title = f"Operations and energy of {net}"
    style = resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    body = "".join(
        (
            _head(profile, title),
            figures(profile),
            rasters(profile),
            _tables(profile),
            _classes(profile),
            _speed(profile),
            _conditions(profile),
        )
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>\n{style}</style></head><body>\n{body}</body></html>\n"
    )


def _head(p: Profile, title: str) -> str:
    r, test = p.sop, p.saved.test
    e, s = r.statistics["energy_mJ"], r.statistics
    name, factor = unit_of(e.mean)
    spread = (
        "one sample, no interval"
        if e.low is None or e.high is None
        else f"95 % CI {amount(e.low * factor)} to {amount(e.high * factor)} {name}"
    )
    performed = s["ac"].mean + s["mac"].mean
    tiles = [
        (energy_text(e.mean), f"= {amount(e.mean)} mJ per sample, operations alone", spread),
        (count(s["ac"].mean), "accumulates per sample", f"and {count(s['mac'].mean)} multiply-accumulates"),
        (f"{100 * performed / r.dense:.1f} %", "of the dense operations", f"of {count(r.dense)} in all counted steps"),
        (f"{100 * p.activity.firing_rate:.1f} %", "mean firing rate", "of all neurons and steps"),
        (
            f"{100 * p.classes.accuracy:.1f} %",
            f"accuracy on the {r.samples:,} counted samples",
            f"macro F1 {p.classes.macro_f1:.4f}",
        ),
        (f"{p.parameters:,}", "parameters", f"{size(p.bytes)}, {100 * p.connections.sparsity:.1f} % of weights zero"),
    ]
    boxes = "".join(
        f'<div class="tile"><b>{escape(big)}</b><span>{escape(what)}</span><span>{escape(more)}</span></div>'
        for big, what, more in tiles
    )
    other = "" if p.saved.trained_on == test.name else f" It was trained on {escape(p.saved.trained_on)}."
    notes = [*r.notes, *(f"{name}: these neurons never spike" for name in p.silent)]
    return (
        f"<h1>{escape(title)}</h1>"
        f"<p>{_conditions_line(p)}.{other}</p>"
        f'<p class="soft"><code>{escape(str(p.saved.path))}</code> &middot; {escape(test.source)}</p>'
        f'<div class="tiles">{boxes}</div>' + _list(notes, "notes")
    )


def _conditions_line(p: Profile) -> str:
    r = p.sop
    rule = "once" if r.first_layer == "once" else "at every step"
    return escape(f"Mode {r.mode}, T = {r.steps}, {r.dataset}, first layer counted {rule}, cost {r.cost.name}")


def _list(entries: Sequence[str], kind: str = "") -> str:
    items = "".join(f"<li>{escape(entry)}</li>" for entry in entries)
    return f'<ul class="{kind}">{items}</ul>' if entries else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], total: Sequence[str] = (), words: int = 1) -> str:
    """Return a table; its first ``words`` columns hold words, the others numbers."""

    def line(cells: Sequence[str], tag: str) -> str:
        kinds = (' class="words"' if i < words else "" for i in range(len(cells)))
        return "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(kinds, cells, strict=True))

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    last = f'<tr class="total">{line(total, "td")}</tr>' if total else ""
    return f'<div class="scroll"><table><tr>{line(head, "th")}</tr>{body}{last}</table></div>'


def _tables(p: Profile) -> str:
    r, s = p.sop, p.sop.statistics
    head = ("layer", "operator", "input", "non-zero input", "AC", "MAC", "dense", "energy in mJ")
    rows = []
    for row in r.layers:
        spent = r.layer_energy(row)
        once = " (once)" if row.static and r.first_layer == "once" else ""
        ac, mac = float(row.ac.mean()), float(row.mac.mean())
        energy = "no figure" if spent is None else amount(spent)
        numbers = (share(row.rate), count(ac), count(mac), count(row.dense), energy)
        rows.append((name_of(row) + once, row.kind, " x ".join(row.values), *numbers))
    total = (
        "per sample, mean",
        "",
        "",
        "",
        count(s["ac"].mean),
        count(s["mac"].mean),
        count(r.dense),
        amount(s["energy_mJ"].mean),
    )
    median = (count(s["ac"].median), count(s["mac"].median), amount(s["energy_mJ"].median))
    missing = "".join(
        f'<p class="notes">{escape(", ".join(m.layers))}: {escape(m.operator)}: not counted: {escape(m.why)}</p>'
        for m in r.not_counted
    )
    neurons = []
    for name, layer in p.activity.layers.items():
        updates = p.membrane.layers.get(name)
        each = "not seen" if updates is None else count(updates.updates / r.samples)
        shape = "x".join(str(n) for n in layer.neurons)
        spikes = count(sum(layer.spikes) / r.samples)
        neurons.append((name, layer.kind, shape, f"{layer.firing_rate:.4f}", spikes, each))
    columns = ("layer", "class", "size", "firing rate", "spikes per sample", "potentials changed per sample")
    medians = f"Median per sample: {median[0]} AC, {median[1]} MAC, {median[2]} mJ."
    return (
        f'<h2>Layers</h2>{_table(head, rows, total, words=3)}<p class="soft">{medians}</p>{missing}'
        f"<h2>Neurons</h2>{_table(columns, neurons, words=3)}"
    )


def _classes(p: Profile) -> str:
    """Return precision, recall and F1 by class, and the confusion matrix where it is small enough to read."""
    c, names = p.classes, p.saved.test.classes
    head = ("class", "samples", "precision", "recall", "F1")
    columns = zip(names, c.support, c.precision, c.recall, c.f1, strict=True)
    rows = [(name, f"{n:,}", f"{a:.3f}", f"{b:.3f}", f"{f:.3f}") for name, n, a, b, f in columns]
    unseen = ", ".join(names[i] for i in c.never_seen)
    note = f'<p class="soft">Not among the samples: {escape(unseen)}.</p>' if unseen else ""
    table = f"{_table(head, rows)}{note}"
    if len(names) > 20:
        return f"<h2>Classification</h2>{table}"
    short = all(len(name) <= 4 for name in names)
    columns_of = names if short else tuple(str(i) for i in range(len(names)))
    row_names = names if short else tuple(f"{i} {name}" for i, name in enumerate(names))
    matrix = [(name, [float(n) for n in row]) for name, row in zip(row_names, c.confusion.tolist(), strict=True)]
    confusion = figure(
        6, "Confusion matrix.", "Rows: the class; columns: what the net said; in samples.",
        heat(matrix, "ac", count, columns=columns_of, corner="class"),
    )  # fmt: skip
    return f'<h2>Classification</h2><div class="pair">{confusion}<div>{table}</div></div>'


def _speed(p: Profile) -> str:
    if p.speed is None:
        return ""
    head = ("batch size", "median in ms", "p90 in ms", "p99 in ms", "samples/s", "memory growth")
    rows = [
        (
            f"{row.batch_size}", f"{row.p50_ms:.3f}", f"{row.p90_ms:.3f}", f"{row.p99_ms:.3f}",
            f"{row.throughput:,.0f}", "not told" if row.peak_growth_bytes is None else size(row.peak_growth_bytes),
        )
        for row in p.speed.rows
    ]  # fmt: skip
    s = p.speed
    where = f"{s.device}, {s.threads} threads" if s.device == "cpu" else s.device
    about = f"{where}; {s.repeats} calls after {s.warmup} to warm up; memory: {s.memory}."
    return f'<h2>Speed on this machine</h2>{_table(head, rows)}<p class="soft">{escape(about)}</p>'


def _conditions(p: Profile) -> str:
    entries = "".join(f"<dt>{escape(head)}</dt><dd>{escape(text)}</dd>" for head, text in summary(p.sop))
    t, r = p.sop.traffic, p.sop.relu_traffic
    memory = _table(
        ("bytes per sample", "this net", "with ReLU"),
        [
            ("weights, streamed", size(t.weights_streamed), size(r.weights_streamed)),
            ("weights, fetched", size(t.weights_fetched), size(r.weights_fetched)),
            ("spikes or activations, written", size(t.spikes_written), size(r.activations_written)),
            ("spikes or activations, read", size(t.spikes_read), size(r.activations_read)),
            ("potentials, read and written", size(t.potentials), "none"),
        ],
    )
    links = "".join(f'<li><a href="{url}">{escape(words)}</a></li>' for words, url in _SOURCES)
    return (
        f"<h2>How it was counted</h2><dl>{entries}</dl>"
        f"<h2>Memory traffic, an estimate</h2>{memory}<p>Assumed:</p>{_list(ASSUMPTIONS)}"
        f"<h2>What the energy does not mean</h2><p>{_CAUTION}</p>"
        f"<h2>Sources</h2><ul>{links}</ul><footer>{escape(p.versions)}</footer>"
    )
