"""Adam, and Muon for the weights that are matrices; their state, written and read back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from training import schema
from training.muon import BatchedMuon


class Optimiser:
    """Adam for all weights, or for those that Muon does not take.

    Muon (Jordan et al. 2024) moves a matrix by its momentum made orthogonal, so that all of its
    directions learn at one pace.  The matrices are the 3x3 convolutions between features, as
    (filters, inputs x 9); picture layers, 1x1 convolutions and biases stay with Adam.  Its update
    is scaled to the size of Adam's, so both take one learning rate.

    Args:
        parameters: What learns.
        options: The recipe's.
        rate: Learning rate to begin with.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], options: schema.Optimiser, rate: float
    ) -> None:
        self.options = options
        self.parameters = list(parameters)
        self.taken = [p for p in self.parameters if options.muon and _is_matrix(p)]
        ids = {id(p) for p in self.taken}
        self.adam = torch.optim.Adam(
            [p for p in self.parameters if id(p) not in ids],
            lr=rate,
            betas=(options.beta1, options.beta2),
            fused=True,
        )
        self.matrices = [nn.Parameter(_matrix(p.data)) for p in self.taken]
        for matrix, p in zip(self.matrices, self.taken, strict=True):
            assert matrix.data_ptr() == p.data_ptr()  # the same numbers, not a copy of them
        self.muon: BatchedMuon | None = None
        if self.matrices:
            self.muon = BatchedMuon(
                self.matrices, lr=rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"
            )

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for p in self.parameters:
            p.grad = None

    def step(self, rate: float) -> None:
        """Move every weight by its gradient, at a learning rate."""
        for group in self.adam.param_groups:
            group["lr"] = rate
        self.adam.step()
        if self.muon is None:
            return
        for group in self.muon.param_groups:
            group["lr"] = rate * self.options.muon
        for matrix, p in zip(self.matrices, self.taken, strict=True):
            matrix.grad = None if p.grad is None else _matrix(p.grad)
        self.muon.step()

    def state(self) -> dict[str, Any]:
        """Adam's state, with Muon's in it if there is one; moments perhaps in half precision."""
        half = self.options.half_moments
        state = _saved(self.adam, half=half)
        return state if self.muon is None else {**state, "muon": _saved(self.muon, half=half)}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a `state`.

        Raises:
            ValueError: It is that of other weights, or of Adam where Muon has joined, or the like.
        """
        if ("muon" in state) != (self.muon is not None):
            raise ValueError("optimiser.muon was not what it is now")
        load_moments(self.adam, {key: value for key, value in state.items() if key != "muon"})
        if self.muon is not None:
            load_moments(self.muon, state["muon"])


def take_step(
    optimiser: torch.optim.Optimizer,
    rate: float,
    average: Callable[[Iterable[nn.Parameter]], None],
    clip: float = 0.0,
) -> None:
    """Move weights by the gradients that all processes have found together.

    Args:
        optimiser: Of the weights, all in one group.
        rate: Learning rate.
        average: Makes gradients the mean of all processes.
        clip: Largest norm of the gradient; 0 for no limit.
    """
    (group,) = optimiser.param_groups
    group["lr"] = rate
    average(group["params"])
    if clip:
        nn.utils.clip_grad_norm_(group["params"], clip)
    optimiser.step()


def _is_matrix(weight: Tensor) -> bool:
    """Whether it is a convolution between features that looks at more than one place."""
    return weight.dim() == 4 and min(weight.shape[:2]) > 3 and weight[0, 0].numel() > 1


def _matrix(weight: Tensor) -> Tensor:
    """A convolution's weight, laid out channels last, as a view ``(filters, places x inputs)``."""
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)


def load_moments(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load an optimiser's moments, each laid out in memory as its parameter is.

    Rates, betas and the like stay the optimiser's own: they are as the recipe is now.  The fused
    Adam goes through weights and moments as if they were rows of numbers, so a moment in another
    layout would meet another weight's.
    """
    own = [{k: v for k, v in group.items() if k != "params"} for group in optimiser.param_groups]
    optimiser.load_state_dict(state)
    for group, options in zip(optimiser.param_groups, own, strict=True):
        group.update(options)
    for parameter, entry in optimiser.state.items():
        for key, value in entry.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                entry[key] = torch.empty_like(parameter).copy_(value)


def _saved(optimiser: torch.optim.Optimizer, *, half: bool) -> dict[str, Any]:
    """An optimiser's state, its moments perhaps as bfloat16, which loading turns back."""
    state: dict[str, Any] = optimiser.state_dict()
    if not half:
        return state
    moments = {
        number: {key: value.bfloat16() if value.dim() else value for key, value in entry.items()}
        for number, entry in state["state"].items()
    }
    return {**state, "state": moments}
