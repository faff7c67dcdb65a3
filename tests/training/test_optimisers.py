"""Muon takes the convolutions between features, in whatever layout they are, and nothing else."""

from __future__ import annotations

import torch
from torch import nn

from training.optimisers import Optimiser
from training.schema import Optimiser as Options


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 16, 1), nn.Conv2d(16, 3, 3)
    )
    return layers.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def test_a_step_of_muon_moves_all_directions_of_a_convolution_alike() -> None:
    layers = network()
    before = {name: p.detach().clone() for name, p in layers.named_parameters()}
    optimiser = Optimiser(layers.parameters(), Options(muon=0.5), 1e-3)
    optimiser.zero_grad()
    layers(torch.rand(4, 3, 12, 12)).square().mean().backward()
    optimiser.step(1e-3)
    moved = {name: p.detach() - before[name] for name, p in layers.named_parameters()}
    assert all(change.abs().sum() > 0 for change in moved.values())
    # Adam's first step is the rate for every number that has a gradient.
    for name in ("0.weight", "2.weight", "3.weight", "1.bias"):
        sizes = moved[name].abs()
        torch.testing.assert_close(sizes[sizes > 0].median(), torch.tensor(1e-3), rtol=0.02, atol=0)
    matrix = moved["1.weight"].reshape(8, -1)
    singular = torch.linalg.svdvals(matrix)
    # Orthogonal up to the five iterations' tolerance, and as large as Adam's usual step (0.2 of
    # the rate in the root mean square) times Muon's factor.
    assert singular.max() < 2.5 * singular.min()
    size = matrix.square().mean().sqrt()
    torch.testing.assert_close(size, torch.tensor(0.5 * 0.2 * 1e-3), rtol=0.2, atol=0)


def test_without_muon_everything_is_adams() -> None:
    layers = network()
    optimiser = Optimiser(layers.parameters(), Options(), 1e-3)
    assert optimiser.muon is None and "muon" not in optimiser.state()
    assert sum(len(group["params"]) for group in optimiser.adam.param_groups) == 8
