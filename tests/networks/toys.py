"""Small networks of every family, for tests of what all of them have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sr_cli.networks.registry import family
from sr_cli.networks.stages import LR, POSITION, Stage, SuperResolver, positions

TOYS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "dan": ("DAN", {"features": 8, "blocks": 5, "iterations": 2, "degradation_size": 6}),
    "dan-rrdb": (
        "DAN",
        {"features": 8, "blocks": 2, "block": "rrdb", "estimator": "large", "scale": 2},
    ),
    "dan-one-segment": ("DAN", {"features": 8, "blocks": 4, "iterations": 1, "scale": 3}),
    "danv1-x2": ("DANv1", {"features": 32, "blocks": 2, "estimator_blocks": 1, "scale": 2}),
    "danv1-x3": (
        "DANv1",
        {"features": 32, "blocks": 2, "estimator_blocks": 1, "scale": 3, "kernel_size": 11},
    ),
    "danv2-x2": (
        "DANv2",
        {"features": 8, "groups": 2, "group_blocks": 3, "scale": 2, "kernel_size": 5},
    ),
    "danv2-x3": ("DANv2", {"features": 8, "groups": 1, "group_blocks": 2, "scale": 3}),
    "danv2-x4": (
        "DANv2",
        {"features": 8, "groups": 3, "group_blocks": 4, "iterations": 2, "code_size": 15},
    ),
    "dmsr-x3": ("DMSR", {"features": 16, "groups": 2, "blocks": 3, "scale": 3, "code_size": 4}),
    "dmsr-x4": ("DMSR", {"features": 16, "groups": 1, "blocks": 1, "kernel_size": 7}),
    "dssr-x2": ("DSSR", {"features": 8, "blocks": 3, "refine_blocks": 2, "scale": 2}),
    "dssr-x3": ("DSSR", {"features": 8, "blocks": 7, "refine_blocks": 1, "scale": 3}),
    "dssr-x4": ("DSSR", {"features": 8, "blocks": 2, "refine_blocks": 1, "iterations": 2}),
    "edsr": ("EDSR", {"features": 8, "blocks": 5, "scale": 2}),
    "edsr-published": ("EDSR", {"features": 8, "blocks": 3, "scale": 3, "style": "published"}),
    "rrdb-x1": ("RRDB", {"features": 8, "blocks": 1, "growth": 4, "scale": 1}),
    "rrdb-x4": ("RRDB", {"features": 8, "blocks": 2, "growth": 4}),
    "rrdb-unshuffled": ("RRDB", {"features": 8, "blocks": 2, "scale": 2, "unshuffle": 2}),
}
"""Family and options; what is not among them is as published."""


def toy(name: str) -> SuperResolver:
    """That network with repeatable random weights, in evaluation mode."""
    torch.manual_seed(0)
    family_name, options = TOYS[name]
    network = family(family_name).build(**options).eval()
    if hasattr(network, "set_encoder"):
        _, size, numbers = network.encoder.shape
        network.set_encoder(torch.randn(size, numbers))
    return network


def run_whole(stages: tuple[Stage, ...], lr: Tensor) -> Mapping[str, Tensor]:
    """All stages over a whole picture at once.

    Args:
        stages: Of one network.
        lr: ``(N, 3, H, W)`` RGB in [0, 1].

    Returns:
        Every stage's output by name; those of means already averaged.
    """
    values: dict[str, Tensor] = {LR: lr, POSITION: positions(lr)}
    for stage in stages:
        value = stage.run(*(values[name] for name in stage.inputs))
        values[stage.output] = value.mean((2, 3), keepdim=True) if stage.kind == "mean" else value
    return values
