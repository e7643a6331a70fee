"""snnTorch's Alpha: a potential read out of two currents, with the shape of an alpha function."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .coefficients import log_of, shown
from .delayed import DelayedReset
from .stages import Coefficient

__all__ = ["Alpha"]


class Alpha(DelayedReset):
    """Neuron of an alpha-function synapse (Rall 1967), after Eshraghian et al., Proc. IEEE 2023, arXiv:2109.12894.

    e = alpha*e + x, n = beta*n - x, h = k*(e + n), k = ln(alpha) / (ln(beta) - ln(alpha)) + 1: the potential is not
    integrated but read out of an excitatory and an inhibitory current. It answers one step late (e + n = 0 at first),
    and k is not scaled: with the default decays one unit of input peaks at about 0.5, five steps later.

    The reset always comes with the next step, without gradient, by r = [h of the step before >= v_threshold]:
    zero (the default): e, n and h times (1 - r), so the input of that step is lost too; subtract: e - r*v_threshold,
    n*(1 - r) and h + r*(n of the step before), which is what snnTorch's code does, though h then is not k*(e + n);
    none. A potential exactly at threshold fires (snnTorch: does not). ``learn_alpha`` works (snnTorch: TypeError).
    ``detach_reset`` has nothing to detach. States: potential, e, n (all [B, *]).

    Args:
        alpha: decay of the excitatory current per step, in (0, 1]; a number, or a tensor of the features: [C] for steps
            [B, C, *].
        beta: decay of the inhibitory current, in (0, 1) and below alpha, which alone is checked: learning may cross it.
        reset_mechanism: ``"zero"``, ``"subtract"`` or ``"none"``.
        learn_alpha: make alpha a parameter.
        learn_beta: make beta a parameter.
        **common: see ``DelayedReset``: ``spike_grad``, ``learn_threshold`` ...; ``reset_delay`` is not taken.
    """

    native = "alpha"
    alpha: Coefficient
    beta: Coefficient

    def __init__(
        self,
        alpha: Coefficient = 0.9,
        beta: Coefficient = 0.8,
        *,
        reset_mechanism: str = "zero",
        learn_alpha: bool = False,
        learn_beta: bool = False,
        **common: Any,
    ) -> None:
        if "reset_delay" in common:
            raise self._bad("reset_delay", "be absent", common["reset_delay"], "this neuron always resets a step late")
        super().__init__(reset_mechanism=reset_mechanism, **common)
        self._coefficient("alpha", self._learned("alpha", alpha, learn_alpha))
        self._coefficient("beta", self._learned("beta", beta, learn_beta))
        high, low = torch.as_tensor(self.alpha).detach(), torch.as_tensor(self.beta).detach()
        if not ((high > 0) & (high <= 1)).all():
            raise self._bad("alpha", "be in (0, 1]", alpha, "pass the decay of the slower current")
        if not ((low > 0) & (low < 1)).all():
            raise self._bad("beta", "be in (0, 1)", beta, "pass the decay of the faster current")
        sizes = {high.numel(), low.numel()} - {1}
        if len(sizes) > 1:
            raise self._bad("beta", f"have as many elements as alpha, {high.numel()}", low.numel(), "pass one each")
        if not (low < high).all():
            raise self._bad("beta", "be below alpha", beta, "exchange them, or pass a smaller beta")

    def charge(self, x: Tensor, *state: Tensor, **own: Any) -> tuple[Tensor, ...]:
        """Return h and the new currents with the reset of the step before folded in."""
        v, e_old, n_old = state
        threshold = own["delayed_threshold"]
        e, n = own["alpha"] * e_old + x, own["beta"] * n_old - x
        h = own["gain"] * (e + n)
        fired = v >= threshold
        if self.resets("zero"):
            return torch.where(fired, 0.0, h), torch.where(fired, 0.0, e), torch.where(fired, 0.0, n)
        if self.resets("subtract"):
            h = h + torch.where(fired, n_old, 0.0)
            return h, self.reset_charged(e, v, threshold), torch.where(fired, 0.0, n)
        return h, e, n

    def rest(self) -> tuple[float, ...]:
        """Return what potential and currents start from."""
        return (0.0, 0.0, 0.0)

    def coefficients(self) -> dict[str, Coefficient]:
        """alpha, beta, the gain k, and the threshold that the reset looks at."""
        alpha, beta = self.alpha, self.beta
        log_alpha, log_beta = log_of(alpha), log_of(beta)
        gain = log_alpha / (log_beta - log_alpha) + 1.0
        return {"alpha": alpha, "beta": beta, "gain": gain, "delayed_threshold": self.v_threshold}

    def extra_repr(self) -> str:
        """Return the arguments that matter."""
        return f"alpha={shown(self.alpha)}, beta={shown(self.beta)}, {super().extra_repr()}"
