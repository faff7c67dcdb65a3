"""Variants of a network are what their names say, by one engine or in one go."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from sr_cli.inference.torch_backend import torch_engine
from sr_cli.networks.dan import DAN
from sr_cli.networks.stages import SR
from sr_cli.networks.variants import Told, with_iterations
from tests.conftest import TINY
from tests.metrics.made import picture
from tests.networks.toys import run_whole


@pytest.fixture
def network() -> DAN:
    torch.manual_seed(0)
    return DAN(**TINY).eval()


def test_other_iterations_share_the_weights(network: DAN) -> None:
    lr = picture(24, 32).unsqueeze(0)
    one = with_iterations(network, 1)
    assert network.iterations == TINY["iterations"]
    alone = DAN(**{**TINY, "iterations": 1}).eval()
    alone.load_state_dict(network.state_dict())
    with torch.no_grad():
        assert torch.equal(one(lr)[0], alone(lr)[0])
        assert not torch.equal(one(lr)[0], network(lr)[0])
    assert next(one.parameters()) is next(network.parameters())


def test_what_does_not_alternate_has_no_iterations() -> None:
    with pytest.raises(TypeError):
        with_iterations(torch.nn.Conv2d(3, 3, 1), 2)  # type: ignore[arg-type]


def test_the_restorer_sees_the_truth_and_nothing_else(network: DAN) -> None:
    lr, truth = picture(24, 32).unsqueeze(0), torch.rand(42)
    told = Told(network)
    told.tell(truth)
    assert all(stage.kind != "mean" for stage in told.stages())  # which an Estimator takes
    with torch.no_grad():
        degradation = network.degradation_head(truth.view(1, -1, 1, 1))
        lr_feature, _ = network.head(lr)
        x = lr_feature
        for _ in range(network.iterations):
            x = x + network.restorer(lr_feature, x, degradation)
        assert torch.equal(told(lr)[0], network.tail(x))
        assert torch.allclose(run_whole(told.stages(), lr)[SR], told(lr)[0], atol=1e-5)


def test_one_engine_follows_the_truth_of_each_picture(network: DAN) -> None:
    told = Told(network)
    engine = torch_engine(told)
    rgb = picture(24, 32).permute(1, 2, 0).contiguous().numpy()
    first, second = torch.rand(2, 42)
    results = []
    for truth in (first, second, first):
        told.tell(truth)
        results.append(engine.upscale(rgb, 16).rgb)
    assert (results[0] == results[2]).all()
    assert (results[0] != results[1]).any()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_truth_is_heard_in_every_precision(
    network: DAN, precision: Literal["fp32", "bf16"]
) -> None:
    told = Told(network)
    engine = torch_engine(told, None, precision)
    rgb = picture(24, 32).permute(1, 2, 0).contiguous().numpy()
    told.tell(torch.zeros(42))
    before = engine.upscale(rgb).rgb
    told.tell(torch.ones(42))
    assert (engine.upscale(rgb).rgb != before).any()


def test_told_nothing_it_is_the_network_whose_estimator_says_nothing(network: DAN) -> None:
    lr = picture(24, 32).unsqueeze(0)
    with torch.no_grad():
        network.initial_degradation.normal_()
        told = Told(network)(lr)[0]
        assert not torch.allclose(told, network(lr)[0], atol=1e-4)
        network.estimator.tail.weight.zero_()
        assert network.estimator.tail.bias is not None
        network.estimator.tail.bias.zero_()
        assert torch.allclose(told, network(lr)[0], atol=1e-5)
