"""Calibration mends scale and offset of the estimates and leaves the picture alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sr_cli.degradation.layout import TWO_STAGE
from sr_cli.degradation.two_stage import TwoStageModel
from sr_cli.networks.dan import DAN
from training.calibrate import calibrate, estimates, line
from training.corpus import read_corpus
from training.degradations import TwoStageDegrader


def test_a_biased_estimate_is_mended_by_a_line() -> None:
    truth = torch.rand(100, generator=torch.Generator().manual_seed(0))
    scale, offset = line(0.5 * truth - 0.2, truth)
    assert (scale, offset) == pytest.approx((2.0, 0.4), abs=1e-5)


def test_a_falling_line_becomes_the_mean() -> None:
    truth = torch.linspace(0, 1, 20)
    assert line(-truth, truth) == pytest.approx((0.0, 0.5))


def test_too_few_cases_change_nothing() -> None:
    assert line(torch.zeros(3), torch.ones(3)) == (1.0, 0.0)


def test_calibration_lowers_the_error_and_keeps_the_picture(photographs: Path) -> None:
    torch.manual_seed(0)
    network = DAN(features=8, blocks=1)
    corpus, model = read_corpus([photographs], 128), TwoStageDegrader(TwoStageModel())
    estimate, truth = estimates(network, model, corpus, 128, 8)
    lr = torch.rand(1, 3, 20, 20)
    before = network(lr)[0]
    calibrate(network, TWO_STAGE, estimate, truth)
    after, _ = estimates(network, model, corpus, 128, 8)
    flags = [p.index for p in TWO_STAGE.parameters if not p.applies]
    error = (estimate - truth)[:, flags].square().mean()
    assert (after - truth)[:, flags].square().mean() < 0.5 * error
    assert torch.equal(network(lr)[0], before)


def test_the_vector_alone_is_that_of_the_whole_network() -> None:
    torch.manual_seed(0)
    lr = torch.rand(2, 3, 20, 24)
    for iterations in (1, 3):
        network = DAN(features=8, blocks=1, iterations=iterations)
        with torch.no_grad():
            assert torch.equal(network.vector(lr), network(lr)[1])
