"""Muon takes the convolutions between features, in whatever layout they are, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from training.muon import BatchedMuon
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


@pytest.mark.parametrize(("half", "kind"), [(False, torch.float32), (True, torch.bfloat16)])
def test_moments_are_halved_only_on_request_and_steps_counted_exactly(
    half: bool, kind: torch.dtype
) -> None:
    layers = network()
    optimiser = Optimiser(layers.parameters(), Options(muon=0.5, half_moments=half), 1e-3)
    layers(torch.rand(4, 3, 12, 12)).square().mean().backward()
    optimiser.step(1e-3)
    state = optimiser.state()
    moments = [state["state"][0]["exp_avg"], state["muon"]["state"][0]["momentum_buffer"]]
    assert [m.dtype for m in moments] == [kind, kind]
    assert state["state"][0]["step"].dtype == torch.float32


def test_a_step_goes_by_its_own_rate_and_not_by_that_of_the_beginning() -> None:
    layers = network()
    optimiser = Optimiser(layers.parameters(), Options(muon=0.5), 1e-3)
    before = [p.detach().clone() for p in layers.parameters()]
    layers(torch.rand(4, 3, 12, 12)).square().mean().backward()
    optimiser.step(0.0)
    assert all(map(torch.equal, layers.parameters(), before))
    optimiser.step(4e-3)
    after = [p.detach() for p in layers.parameters()]
    moved = [(a - b).square().mean().sqrt() for a, b in zip(after, before, strict=True)]
    by_adam, by_muon = moved[1], moved[2]  # a bias, and the convolution between features
    torch.testing.assert_close(by_adam, torch.tensor(4e-3), rtol=0.02, atol=0)
    torch.testing.assert_close(by_muon, torch.tensor(0.5 * 0.2 * 4e-3), rtol=0.2, atol=0)
    optimiser.zero_grad()
    assert all(p.grad is None for p in layers.parameters())


def test_a_matrix_without_a_gradient_stays_where_it_is() -> None:
    layers = network()
    optimiser = Optimiser(layers.parameters(), Options(muon=0.5), 1e-3)
    before = layers[1].weight.detach().clone()
    layers(torch.rand(4, 3, 12, 12)).square().mean().backward()
    layers[1].weight.grad = None
    optimiser.step(1e-3)
    assert torch.equal(layers[1].weight, before)


@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1, "nesterov": False}])
def test_matrices_together_move_as_torch_moves_them_one_by_one(options: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(8, 72), (8, 72), (32, 72), (8, 72), (40, 18)]
    fresh = [torch.randn(shape, generator=generator) for shape in shapes]
    moved = []
    for kind in (torch.optim.Muon, BatchedMuon):
        draw = torch.Generator().manual_seed(1)
        matrices = [nn.Parameter(f.clone()) for f in fresh]
        settings = {"weight_decay": 0.0, "adjust_lr_fn": "match_rms_adamw", **options}
        muon = kind(matrices, lr=0.01, **settings)
        for _ in range(3):
            for m in matrices:
                m.grad = torch.randn(m.shape, generator=draw)
            matrices[3].grad = None  # as of what does not learn in a phase
            muon.step()
        assert torch.equal(matrices[3], fresh[3])
        moved.append(matrices)
    for ours, theirs, before in zip(moved[1], moved[0], fresh, strict=True):
        # bfloat16 products, rounded in another order
        difference = (ours - theirs).norm()
        assert difference <= 0.02 * (theirs - before).norm()
