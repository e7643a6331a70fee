"""The check that a net of snncore and SpikingJelly's compute the same: scores in eval, gradients in training."""

from __future__ import annotations

from typing import Any

from common import require
from nets import PEER, SNNCORE, Pair

FLOAT32, BFLOAT16 = "float32", "bfloat16"
# what float64 and float32 may differ by: share of the scores, norm of a gradient relative to its own
_ALLOWED = {"float64": (0.0, 1e-9), FLOAT32: (0.01, 0.05)}
_ALLOWED_LAST = 0.25  # of a gradient in float32, in channels_last
_FARTHER = 1.25  # in bfloat16: how much farther from float32 than SpikingJelly


def autocast(images: Any, precision: str) -> Any:
    """Return the context of a step in ``precision``: bfloat16 is autocast's, the weights stay float32."""
    import torch

    return torch.autocast(images.device.type, torch.bfloat16, enabled=precision == BFLOAT16)


def check(both: Pair, precisions: tuple[str, ...] = (FLOAT32,), few: int = 32) -> dict[str, dict[str, float]]:
    """Compare scores in eval and gradients in training, and return by how much they differ, for each precision.

    float64, on ``few`` images: every score equal, gradients to 1e-9 of their norm.

    float32: the two may round differently (snncore computes what does not change over T once), so a potential within
    rounding of the threshold may fire in one and not in the other; at most 1 % of the scores differ, and no gradient
    by more than 5 %. In channels_last, 25 %: there torch's batch norm sums its statistics in float32 less exactly,
    which moves potentials of the CSNN by up to 1e-4, and with them 1e-5 of its first spikes.

    bfloat16: SpikingJelly keeps its potentials in it, snncore in float32, and in both so many potentials round over
    the threshold that no value can be compared; snncore's scores must be no farther (1.25 times) from SpikingJelly's
    float32 scores than SpikingJelly's own, and gradients finite.

    Raises:
        CheckFailed: they differ by more.
    """
    import torch

    seen: dict[str, dict[str, float]] = {}
    wanted = None
    for precision in ("float64", FLOAT32, BFLOAT16):
        if precision == BFLOAT16 and BFLOAT16 not in precisions:
            continue
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # which rounds float32 to 10 bits
            scores, grads = _results(both, precision, few if precision == "float64" else len(both.images))
        require(float(scores[PEER].abs().max()) > 0, "all scores are 0: the comparison would be empty")
        if precision == BFLOAT16:
            seen[precision] = _beside_float32(scores, grads, wanted)
            continue
        wanted = scores[PEER]
        scores_allowed, grads_allowed = _ALLOWED[precision]
        if both.channels_last and precision == FLOAT32:
            grads_allowed = _ALLOWED_LAST
        seen[precision] = _alike(precision, scores, grads, scores_allowed, grads_allowed)
    return seen


def check_line(seen: dict[str, float]) -> str:
    """Return what `check` saw in one precision, in words."""
    if "off_float32" in seen:
        return (
            f"scores are {seen['off_float32']:.2f} of their norm from float32's, "
            f"SpikingJelly's {seen['peer_off_float32']:.2f}; no value can be compared"
        )
    return (
        f"{seen['scores_differ']:.2%} of the scores differ, gradients by at most {seen['grad_error']:.1e} of their norm"
    )


def _alike(
    precision: str, scores: dict[str, Any], grads: dict[str, Any], scores_allowed: float, grads_allowed: float
) -> dict[str, float]:
    near = 1e-12 if precision == "float64" else 1e-5  # of the largest: sums of the same spikes in another order
    apart = (scores[SNNCORE] - scores[PEER]).abs() > near * scores[PEER].abs().max()
    wrong = float(apart.double().mean())
    errors = [_error(a, b) for a, b in zip(grads[SNNCORE], grads[PEER], strict=True)]
    require(wrong <= scores_allowed, f"{precision}: {wrong:.2%} of the scores differ from SpikingJelly's")
    require(
        max(errors) <= grads_allowed,
        f"{precision}: gradients differ by {max(errors):.2g} of their norm, allowed {grads_allowed:g}",
    )
    return {"scores_differ": wrong, "grad_error": max(errors)}


def _beside_float32(scores: dict[str, Any], grads: dict[str, Any], wanted: Any) -> dict[str, float]:
    off = {name: _error(got.float(), wanted) for name, got in scores.items()}
    finite = all(bool(g.isfinite().all()) and bool(g.any()) for g in grads[SNNCORE])
    require(finite, "bfloat16: a gradient is not finite, or 0 throughout")
    require(
        off[SNNCORE] <= _FARTHER * off[PEER] + 0.02,
        f"bfloat16: scores are {off[SNNCORE]:.2g} of their norm from float32's, SpikingJelly's {off[PEER]:.2g}",
    )
    return {"off_float32": off[SNNCORE], "peer_off_float32": off[PEER]}


def _error(got: Any, want: Any) -> float:
    norm = float(want.norm())
    return float((got - want).norm()) / norm if norm else float(got.norm() > 0)


def _results(both: Pair, precision: str, size: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return scores in eval and gradients in training of both nets, whose state stays as it was."""
    import torch

    dtype = torch.float64 if precision == "float64" else torch.float32
    x, y = both.images[:size].to(dtype), both.labels[:size]
    scores, grads = {}, {}
    for name, net in both.nets.items():
        saved = {key: value.clone() for key, value in net.state_dict().items()}
        net.to(dtype).eval()
        with autocast(x, precision):
            with torch.no_grad():
                scores[name] = both.runs[name](x)
            net.train()
            loss = both.loss(both.runs[name](x).to(dtype), y)
        grads[name] = torch.autograd.grad(loss, list(net.parameters()))
        net.float().load_state_dict(saved)  # batch norm has counted this batch
    return scores, grads
