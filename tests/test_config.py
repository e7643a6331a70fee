"""The merge: precedence, sources, types, unknown names, and YAML that reads back as what was written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import FrozenInstanceError, dataclass, field
from typing import Any

import pytest
import yaml

from snncore.config import DEFAULTS, Text, dump_yaml, flatten, load_yaml, merge, option, to_dict
from snncore.errors import ConfigError

TABLE = {"sgd": 1, "adam": 2}


@dataclass(frozen=True, kw_only=True)
class Optim:
    name: str = option("sgd", "optimiser", "--opt", choices=TABLE)
    lr: float = option(0.1, "learning rate", "--lr", above=0)
    steps: int = option(3, "number of steps", "-n", at_least=1)
    nesterov: bool = option(False, "Nesterov momentum", "--nesterov")
    decay: float | None = option(None, "weight decay", at_least=0, below=1)
    share: float = option(0.5, "share", "--share", at_least=0, at_most=1)


@dataclass(frozen=True, kw_only=True)
class Net:
    sizes: tuple[int, ...] = option((784, 10), "sizes", "--sizes", at_least=1)
    root: str | None = option(None, "folder", "--root")
    amp: str = option("off", "mixed precision", choices=("off", "bf16"))
    args: Mapping[str, Any] = option({"tau": 2.0}, "arguments of the neuron")


@dataclass(frozen=True, kw_only=True)
class Tree:
    optim: Optim = field(default_factory=Optim)
    net: Net = field(default_factory=Net)


def one(key: str, value: Any) -> tuple[str, dict[str, Any]]:
    section, name = key.split(".", 1)
    return "here", {section: {name: value}}


def value_of(config: Any, key: str) -> Any:
    return flatten(config)[key]


def test_a_later_layer_wins_and_each_value_knows_its_source():
    layers = [
        ("preset", {"optim": {"lr": 1.0, "steps": 5}, "net": {"args": {"tau": 3.0, "v_reset": 0.0}}}),
        ("run.yaml", {"optim": {"lr": 2.0}, "net": {"args": {"v_reset": None}}}),
        ("command line", {"optim": {"lr": 3.0}}),
    ]
    merged = merge(Tree, layers)
    assert merged.config == Tree(
        optim=Optim(lr=3.0, steps=5), net=Net(args={"tau": 3.0, "v_reset": None})
    )  # every other value is the default
    sources = dict(merged.sources)
    assert sources["optim.lr"] == "command line"
    assert sources["optim.steps"] == sources["net.args.tau"] == "preset"
    assert sources["net.args.v_reset"] == "run.yaml"
    assert sources["optim.name"] == DEFAULTS
    assert set(sources) == set(flatten(merged.config))


def test_the_merged_tree_cannot_be_changed():
    config = merge(Tree, []).config
    with pytest.raises(FrozenInstanceError):
        config.optim.lr = 1.0  # type: ignore[misc]
    with pytest.raises(TypeError):
        config.net.args["tau"] = 1.0  # type: ignore[index]
    assert merge(Tree, []).config.net.args is not config.net.args


@pytest.mark.parametrize(
    ("key", "given", "expected"),
    [
        ("optim.lr", 1, 1.0),
        ("optim.lr", "1e-3", 1e-3),
        ("optim.lr", Text("1e-3"), 1e-3),
        ("optim.steps", Text("7"), 7),
        ("optim.steps", Text("9007199254740993"), 9007199254740993),
        ("optim.steps", 1e2, 100),
        ("optim.nesterov", Text("yes"), True),
        ("optim.nesterov", "off", False),
        ("optim.decay", None, None),
        ("optim.decay", Text("none"), None),
        ("optim.decay", Text("0"), 0.0),
        ("net.sizes", Text("784,1000, 10"), (784, 1000, 10)),
        ("net.sizes", "[4, 2]", (4, 2)),
        ("net.sizes", [4, 2], (4, 2)),
        ("net.sizes", 5, (5,)),
        ("net.root", Text("2024"), "2024"),
        ("net.root", Text("none"), None),
        ("net.amp", Text("off"), "off"),
        ("net.args", {"tau": 1.5}, {"tau": 1.5}),
    ],
)
def test_values_take_the_type_of_their_field(key, given, expected):
    config = merge(Tree, [one(key, given)]).config
    section, name = key.split(".")
    found = getattr(getattr(config, section), name)
    assert found == expected
    assert type(found) is type(expected) or isinstance(expected, dict)


@pytest.mark.parametrize(("typed", "expected"), [("1e-3", 1e-3), ("true", True), ("off", "off"), ("[1, 2]", [1, 2])])
def test_a_free_form_value_from_the_command_line_is_read_as_yaml(typed, expected):
    config = merge(Tree, [("command line", {"net": {"args": {"beta": Text(typed)}}})]).config
    assert dict(config.net.args) == {"tau": 2.0, "beta": expected}
    assert type(config.net.args["beta"]) is type(expected)


@pytest.mark.parametrize(
    ("key", "given", "parts"),
    [
        ("optim.lr", "fast", ["optim.lr", "a number", "'fast'", "here", "0.1"]),
        ("optim.lr", 0, ["optim.lr", "greater than 0", "got 0"]),
        ("optim.lr", "nan", ["a finite number"]),
        ("optim.lr", True, ["a number", "True"]),
        ("optim.lr", [1], ["a number"]),
        ("optim.steps", 0, ["at least 1", "got 0"]),
        ("optim.steps", Text("-3"), ["at least 1", "got '-3'"]),
        ("optim.steps", "1.5", ["a whole number"]),
        ("optim.steps", float("inf"), ["a whole number"]),
        ("optim.nesterov", 1, ["true or false"]),
        ("optim.decay", 1.0, ["less than 1"]),
        ("optim.share", 1.5, ["at most 1", "got 1.5"]),
        ("optim.name", "sdg", ["one of adam, sgd", "did you mean 'sgd'"]),
        ("net.amp", False, ["one of bf16, off", "got False"]),
        ("net.root", 2024, ["text (in a file: in quotes)", "2024"]),
        ("net.sizes", "4,x", ["a whole number"]),
        ("net.sizes", [4, 0], ["at least 1"]),
        ("optim.momentun", 1, ["optim.momentun", "none of this name", "here"]),
        ("optim.step", 1, ["did you mean 'optim.steps'?"]),
        ("net.lr", 1, ["did you mean 'optim.lr'?"]),
        ("optm.lr", 1, ["optm", "did you mean 'optim'?"]),
        ("net.args", 3, ["net.args", "names with values"]),
    ],
)
def test_what_cannot_be_used_is_refused_by_name_and_source(key, given, parts):
    with pytest.raises(ConfigError) as caught:
        merge(Tree, [one(key, given)])
    for part in [*parts, "here"]:
        assert part in str(caught.value)


def test_a_section_must_hold_names():
    with pytest.raises(ConfigError, match="optim: must hold names with values, got 3"):
        merge(Tree, [("f", {"optim": 3})])
    assert merge(Tree, [("f", {"optim": None})]).config == Tree()


def test_yaml_reads_back_as_written(tmp_path):
    odd = {"off": "off", "e": "1e3", "n": "null", "i": "012", "x": 1e-05, "l": [1, [2.5, "a: b"]], "d": {"a": {"b": 1}}}
    merged = merge(
        Tree,
        [
            ("one", {"net": {"root": "1e3", "sizes": [1, 2], "args": {**odd, "#": "# no comment"}}}),
            ("two", {"optim": {"lr": 1e-5, "decay": 0.5, "nesterov": True}}),
        ],
    )
    path = tmp_path / "config.yaml"
    for text in (dump_yaml(merged.config), dump_yaml(merged.config, merged.sources)):
        path.write_text(text)
        assert merge(Tree, [("again", load_yaml(path))]).config == merged.config
        # and plain PyYAML, which follows YAML 1.1, reads the same
        assert yaml.safe_load(text) == to_dict(merged.config)
    assert "  lr: 1.0e-05" in text
    assert "# two" in text


def test_yaml_is_read_as_a_person_means_it(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(
        "optim: {lr: 1e-3}\nnet:\n  amp: off\n  args: {beta: 5e-1, name: on, flag: true, t: 010, h: 0xff}\n"
    )
    found = load_yaml(path)
    assert found == {
        "optim": {"lr": 1e-3},
        "net": {"amp": "off", "args": {"beta": 0.5, "name": "on", "flag": True, "t": 10, "h": 255}},
    }
    path.write_text("")
    assert load_yaml(path) == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"optim:\n  lr: 1\n  lr: 2\n", r"line 3, column 3: the name 'lr' is given twice"),
        (b"optim: [1\n", r"must be YAML; line 2"),
        (b"- 1\n- 2\n", r"names with values, got list"),
        (b"\xff\xfe\x00", r"not UTF-8"),
        (b"a: !!python/object/apply:os.getcwd []\n", r"must be YAML"),
        (None, r"No such file"),
    ],
)
def test_a_file_that_is_no_configuration_says_where(tmp_path, content, message):
    path = tmp_path / "c.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        load_yaml(path)
    assert str(path) in str(caught.value)
