"""The surrogates as Python objects: what they compute, what they refuse, and that their names are the core's."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle

import pytest
import torch

from snncore import build_info, surrogate
from snncore.errors import ArgumentError
from snncore.surrogate import SURROGATES, Surrogate, native_name

every = pytest.mark.parametrize("name", SURROGATES)

# the defaults, as documented and as SpikingJelly 2.0.0 and snnTorch 1.0.0 (fast_sigmoid) have them
DEFAULTS = {
    "atan": {"alpha": 2.0},
    "erf": {"alpha": 2.0},
    "fake_numerical_gradient": {"alpha": 0.3},
    "fast_sigmoid": {"alpha": 25.0},
    "leaky_k_relu": {"leak": 0.0, "k": 1.0},
    "log_tailed_relu": {"alpha": 0.0},
    "multi_level": {"low": 0.0, "high": 4.0},
    "nonzero_sign_log_abs": {"alpha": 1.0},
    "open_multi_level": {"low": 0.0, "high": 4.0},
    "piecewise_exp": {"alpha": 1.0},
    "piecewise_leaky_relu": {"w": 1.0, "c": 0.01},
    "piecewise_quadratic": {"alpha": 1.0},
    "q_pseudo_spike": {"alpha": 2.0},
    "rect": {"alpha": 1.0},
    "s2nn": {"alpha": 4.0, "beta": 1.0},
    "sigmoid": {"alpha": 4.0},
    "soft_sign": {"alpha": 2.0},
    "squarewave_fourier_series": {"n": 2, "T_period": 8.0},
    "straight_through": {},
    "super_spike": {"alpha": 1.0},
}

# the published derivative at u, written down once more, by hand and in plain floats
FORMULAS = {
    "atan": lambda u, a: a / 2 / (1 + (math.pi / 2 * a * u) ** 2),
    "erf": lambda u, a: a / math.sqrt(math.pi) * math.exp(-((a * u) ** 2)),
    "fake_numerical_gradient": lambda u, a: min(1 / abs(u), a) if u else a,
    "fast_sigmoid": lambda u, a: 1 / (1 + a * abs(u)) ** 2,
    "leaky_k_relu": lambda u, leak, k: k if u >= 0 else leak,
    "log_tailed_relu": lambda u, a: a if u <= 0 else 1.0 if u <= 1 else 1 / u,
    "multi_level": lambda u, low, high: 1.0 if low <= u <= high else 0.0,
    "nonzero_sign_log_abs": lambda u, a: 1 / (1 / a + abs(u)),
    "open_multi_level": lambda u, low, high: 1.0 if low < u < high else 0.0,
    "piecewise_exp": lambda u, a: a / 2 * math.exp(-a * abs(u)),
    "piecewise_leaky_relu": lambda u, w, c: 1 / (2 * w) if abs(u) < w else c,
    "piecewise_quadratic": lambda u, a: max(0.0, a - a * a * abs(u)),
    "q_pseudo_spike": lambda u, a: (1 + 2 * abs(u) / (a - 1)) ** -a,
    "rect": lambda u, a: a if abs(u) < 0.5 / a else 0.0,
    "s2nn": lambda u, a, b: _logistic(a, u) if u < 0 else b / (1 + u),
    "sigmoid": lambda u, a: _logistic(a, u),
    "soft_sign": lambda u, a: 1 / (2 * a * (1 / a + abs(u)) ** 2),
    "squarewave_fourier_series": lambda u, n, T: (
        4 / T * sum(math.cos((2 * i - 1) * 2 * math.pi * u / T) for i in range(1, n))
    ),
    "straight_through": lambda u: 1.0,
    "super_spike": lambda u, a: a / (1 + abs(u)) ** 2,
}


def _logistic(a, u):
    s = 1 / (1 + math.exp(-a * u))
    return a * s * (1 - s)


def test_names_are_those_of_the_core():
    assert sorted(build_info()["surrogates"]) == sorted(SURROGATES) == sorted(DEFAULTS) == sorted(FORMULAS)
    for cls in SURROGATES.values():
        assert cls.__name__ in surrogate.__all__


@every
def test_defaults(name):
    assert dataclasses.asdict(SURROGATES[name]()) == DEFAULTS[name]


@every
def test_derivative_is_the_published_one(name):
    for scale in (1.0, 1.5):
        given = {k: v + (scale - 1.0) if isinstance(v, float) else v + int(scale) for k, v in DEFAULTS[name].items()}
        made = SURROGATES[name](**given)
        values = [-30.0, -3.0, -1.01, -0.99, -0.4, -1e-6, 0.0, 1e-6, 0.3, 0.45, 0.97, 1.02, 2.5, 30.0]
        u = torch.tensor(values, dtype=torch.float64, requires_grad=True)
        made.step(u).sum().backward()
        want = torch.tensor([FORMULAS[name](v, *given.values()) for v in values], dtype=torch.float64)
        torch.testing.assert_close(u.grad, want, rtol=1e-9, atol=1e-14)


@every
def test_calling_fires(name):
    made = SURROGATES[name]()
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        u = torch.tensor([-2.0, -1e-3, -0.0, 0.0, 1e-3, 2.0], dtype=dtype, requires_grad=True)
        spike = made(u)
        assert spike.dtype == dtype
        assert spike.tolist() == [0, 0, 1, 1, 1, 1]
        spike.sum().backward()
        smooth = u.detach().clone().requires_grad_()
        made.step(smooth).sum().backward()
        assert torch.equal(u.grad, smooth.grad)


@every
def test_step_is_continuous_and_its_derivative_is_not_negative(name):
    made = SURROGATES[name]()
    u = torch.linspace(-3, 3, 60_001, dtype=torch.float64, requires_grad=True)
    value = made.step(u)
    value.sum().backward()
    assert float(value.detach().diff().abs().max()) <= float(u.grad.abs().max()) * 1.1e-4
    if name != "squarewave_fourier_series":
        assert (u.grad >= 0).all()


def test_frozen_hashable_picklable_and_compared_by_value():
    for name, cls in SURROGATES.items():
        made = cls()
        assert made == cls() and hash(made) == hash(cls())
        assert pickle.loads(pickle.dumps(made)) == made == copy.deepcopy(made)
        assert native_name(made) == name
        for field in dataclasses.fields(made):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(made, field.name, 1.0)
    assert surrogate.ATan(1.0) != surrogate.ATan(2.0)


def test_only_the_very_classes_of_the_table_are_native():
    class Mine(surrogate.ATan):
        pass

    assert native_name(Mine()) is None
    assert native_name(object()) is None
    assert native_name(Surrogate()) is None
    with pytest.raises(NotImplementedError):
        Surrogate().step(torch.zeros(1))


BAD = [
    *((name, {"alpha": value}) for name in SURROGATES for value in (0.0, -1.0, math.nan, math.inf, "2", None)
      if "alpha" in DEFAULTS[name] and name not in ("log_tailed_relu", "s2nn", "q_pseudo_spike")),
    ("q_pseudo_spike", {"alpha": 1.0}), ("q_pseudo_spike", {"alpha": math.nan}),
    ("q_pseudo_spike", {"alpha": math.inf}), ("q_pseudo_spike", {"alpha": "2"}),
    ("s2nn", {"alpha": 0.0}), ("s2nn", {"alpha": math.nan}), ("s2nn", {"beta": -1.0}), ("s2nn", {"alpha": "4"}),
    ("s2nn", {"beta": math.inf}),
    ("piecewise_leaky_relu", {"w": 0.0}), ("piecewise_leaky_relu", {"w": math.nan}),
    ("piecewise_leaky_relu", {"c": -0.1}), ("piecewise_leaky_relu", {"w": "1"}),
    ("piecewise_leaky_relu", {"c": math.inf}),
    ("squarewave_fourier_series", {"n": 1}), ("squarewave_fourier_series", {"n": 2.5}),
    ("squarewave_fourier_series", {"T_period": 0.0}), ("squarewave_fourier_series", {"T_period": math.nan}),
    ("squarewave_fourier_series", {"T_period": "8"}),
    ("leaky_k_relu", {"leak": math.nan}), ("leaky_k_relu", {"k": math.inf}), ("leaky_k_relu", {"k": "1"}),
    ("multi_level", {"high": 0.0}), ("multi_level", {"high": math.inf}), ("multi_level", {"low": math.nan}),
    ("multi_level", {"low": "0"}), ("open_multi_level", {"high": -1.0}), ("open_multi_level", {"low": -math.inf}),
    ("log_tailed_relu", {"alpha": math.nan}), ("log_tailed_relu", {"alpha": "0"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "numbers"), BAD, ids=lambda v: str(v))
def test_bad_numbers_are_named(name, numbers):
    cls = SURROGATES[name]
    (argument,) = numbers
    with pytest.raises(ArgumentError, match=rf"^{cls.__name__}\.{argument}: must be .*, got .*; "):
        cls(**numbers)
