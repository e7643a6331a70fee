"""``snncore-profile``: a saved net -> operations, energy and activity as a table, JSON, and an HTML page."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, SnncoreError
from ..registry import lookup

if TYPE_CHECKING:
    from ..metric.sop import EnergyCost
    from .flags import Parser

__all__ = ["main"]

_DESCRIPTION = """\
Count what a net that snncore-train saved does on test samples: synaptic operations and their energy, firing
rates, memory traffic. Prints a table; --json and --html write the same for programs and for people."""

_EPILOG = """\
examples:
  snncore-profile logs/digits_csnn_if_T4
  snncore-profile logs/digits_csnn_if_T4/last.pt --samples 360 --html report.html --json report.json
  snncore-profile run/best.pt --mode paper --first-layer every_step --cost int8
  snncore-profile run/best.pt --cost 0.5,2.1        pJ of an accumulate and of a multiply-accumulate

the HTML page is one file without scripts or anything from the network. Exit code 2: a mistake to be corrected;
then no file was written or changed.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 2 a mistake to be corrected, 130 stopped by Ctrl-C.

    Args:
        argv: the arguments; those of the process by default.
    """
    try:
        return _run(argv)
    except SnncoreError as error:
        print(f"snncore-profile: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("snncore-profile: stopped; nothing was written", file=sys.stderr)
        return 130


def _run(argv: Sequence[str] | None) -> int:
    # Here, not above, and the core first: what is wrong with it or with torch is told in one line like any mistake.
    from ..ops import build_info  # isort: skip  # noqa: F401
    from ..profile import load, page, profile
    from ..train.files import replace_file

    found = _parser().parse(argv)
    options = _options(found)
    files = [(path, Path(path).expanduser()) for path in (found.json, found.html) if path]
    for typed, path in files:
        if path.is_dir() or not path.absolute().parent.is_dir():
            raise ConfigError(
                f"--json, --html: must be a file in a folder that is there, got {typed!r}; make the folder, or choose "
                "another name"
            )
    if len({path.resolve() for _, path in files}) < len(files):
        raise ConfigError(
            f"--json, --html: must be two files, got {found.json!r} for both; choose another name for one"
        )
    saved = load(found.checkpoint, found.dataset, found.data_root, found.device, found.threads)
    energy = saved.config.energy
    result = profile(
        saved,
        samples=options["samples"] or energy.samples or 128,
        batch_size=options["batch_size"],
        mode=found.mode or energy.mode,
        first_layer=found.first_layer or energy.first_layer,
        cost=options["cost"] or energy.cost,
        memory=found.memory or energy.memory,
        rasters=options["rasters"],
        speed_at=options["speed_at"],
    )
    texts = [text for path, text in ((found.json, result.to_json), (found.html, lambda: page(result))) if path]
    contents = [make().encode() for make in texts]  # all of it before the first file is touched
    print(result)
    for (typed, path), content in zip(files, contents, strict=True):
        try:
            replace_file(path, lambda file, content=content: file.write(content))  # type: ignore[misc]
        except OSError as error:
            raise ConfigError(f"{typed}: must be writable, got: {error.strerror}; choose another place") from None
        print(f"written: {path}")
    return 0


def _parser() -> Parser:
    from ..data import DATASETS
    from ..metric.sop import ENERGY, MEMORY, VIEWS
    from .flags import Parser

    parser = Parser(prog="snncore-profile", description=_DESCRIPTION, epilog=_EPILOG, add_help=False)
    take = parser.add_argument
    take("checkpoint", metavar="CHECKPOINT", help="a checkpoint of snncore-train, or the folder of a run: its best.pt")
    take("-h", "--help", action="help", help="show this text and exit")
    data = parser.add_argument_group("samples")
    data.add_argument("--dataset", metavar="NAME", help=f"{_names(DATASETS)} (default: the one it was trained on)")
    data.add_argument(
        "--data-root", "--data-dir", metavar="DIR", help="folder of the data set's files (default: as in training)"
    )
    data.add_argument("--samples", metavar="N", help="test samples, evenly spread (default: energy.samples of the run)")
    data.add_argument(
        "-b", "--batch-size", metavar="N", help="samples at a time; changes no number (default: as trained)"
    )
    count = parser.add_argument_group("what is counted (defaults: the run's energy settings)")
    count.add_argument("--mode", metavar="NAME", help=f"what counts as an operation; {_names(VIEWS)}")
    count.add_argument(
        "--first-layer",
        metavar="NAME",
        help="how often a layer with the same input at every step counts: once, every_step",
    )
    count.add_argument("--cost", metavar="NAME", help=f"energy of an operation; {_names(ENERGY)}; or AC,MAC in pJ")
    count.add_argument("--memory", metavar="NAME", help=f"energy of moving a byte; {_names(MEMORY)}")
    out = parser.add_argument_group("output and machine")
    out.add_argument("--json", metavar="FILE", help="write everything as JSON")
    out.add_argument("--html", metavar="FILE", help="write a page with figures")
    out.add_argument("--rasters", metavar="N", default="3", help="samples whose spikes the page shows (default: 3)")
    out.add_argument(
        "--latency", metavar="N,N", help="also measure latency and peak memory at these batch sizes (default: not)"
    )
    out.add_argument("--device", metavar="NAME", help="cpu, cuda, ... (default: as in training)")
    out.add_argument("--threads", metavar="N", help="CPU threads (default: as in training)")
    return parser


def _names(table: Any) -> str:
    return ", ".join(sorted(table))


def _options(found: Any) -> dict[str, Any]:
    """Check what was typed before anything is loaded."""
    from ..metric.sop import MEMORY, VIEWS

    if found.mode is not None:
        lookup(VIEWS, found.mode, "--mode")
    if found.memory is not None:
        lookup(MEMORY, found.memory, "--memory")
    if found.first_layer is not None:
        lookup({"once": 1, "every_step": 1}, found.first_layer, "--first-layer")
    found.threads = _whole("--threads", found.threads, 1)
    return {
        "samples": _whole("--samples", found.samples, 1),
        "batch_size": _whole("--batch-size", found.batch_size, 1),
        "rasters": _whole("--rasters", found.rasters, 0) or 0,
        "speed_at": [_whole("--latency", size, 1) for size in (found.latency or "").split(",") if found.latency],
        "cost": None if found.cost is None else _cost(found.cost),
    }


def _whole(flag: str, text: str | None, least: int) -> int | None:
    if text is None:
        return None
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise ConfigError(f"{flag}: must be a whole number of at least {least}, got {text!r}; correct it")
    return value


def _cost(text: str) -> str | EnergyCost:
    """Return the name of a preset, or the figures that were typed."""
    from ..metric.sop import ENERGY, EnergyCost

    if "," not in text:
        lookup(ENERGY, text, "--cost")
        return text
    try:
        ac, mac = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--cost: must be a name or two numbers AC,MAC in pJ, got {text!r}; correct it") from None
    return EnergyCost(ac, mac, "figures given by the user")


if __name__ == "__main__":
    sys.exit(main())
