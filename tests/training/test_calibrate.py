"""Calibration mends scale and offset of the estimates and leaves the picture alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from sr_cli.degradation.blur_only import BlurModel
from sr_cli.degradation.layout import TWO_STAGE
from sr_cli.degradation.two_stage import TwoStageModel
from sr_cli.networks.dan import DAN
from sr_cli.zoo import weights
from training.calibrate import calibrate, estimates, line, main
from training.corpus import read_corpus
from training.degradations import BlurDegrader, TwoStageDegrader


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


@pytest.mark.parametrize("blurred", [False, True])
def test_a_crop_is_rounded_down_to_what_can_be_degraded(blurred: bool, photographs: Path) -> None:
    model = BlurDegrader(BlurModel(4)) if blurred else TwoStageDegrader(TwoStageModel(4))
    network = DAN(features=8, blocks=1, degradation_size=8 if blurred else 42)
    corpus = read_corpus([photographs], 96)
    odd, whole = (estimates(network, model, corpus, crop, 1) for crop in (95, 92))
    assert torch.equal(odd[0], whole[0]) and torch.equal(odd[1], whole[1])


def test_only_cases_to_which_a_number_applies_count() -> None:
    torch.manual_seed(0)
    model = TwoStageModel()
    generator = torch.Generator().manual_seed(0)
    truth = torch.cat([model.sample(1, generator).vector() for _ in range(200)])
    applies = torch.tensor([TWO_STAGE.applicable(row) for row in truth.tolist()])
    estimate = torch.where(applies, 0.5 * truth - 0.1, 7 * torch.rand_like(truth))
    network = DAN(features=8, blocks=1)
    tail = network.degradation_tail
    assert tail.bias is not None
    weight, bias = tail.weight.detach().clone(), tail.bias.detach().clone()
    calibrate(network, TWO_STAGE, estimate, truth)
    told = [p.index for p in TWO_STAGE.parameters if p.applies and p.key.endswith("sigma")]
    assert told and not applies[:, told].all()
    for index in told:  # twice the estimate and 0.2 are the truth, wherever there is one
        torch.testing.assert_close(tail.weight[index], 2 * weight[index], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(tail.bias[index], 2 * bias[index] + 0.2, rtol=1e-4, atol=1e-4)


def test_the_vector_alone_is_that_of_the_whole_network() -> None:
    torch.manual_seed(0)
    lr = torch.rand(2, 3, 20, 24)
    for iterations in (1, 3):
        network = DAN(features=8, blocks=1, iterations=iterations)
        with torch.no_grad():
            assert torch.equal(network.vector(lr), network(lr)[1])


def test_weights_are_calibrated_as_what_they_are(
    tmp_path: Path, photographs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "ema.safetensors"
    options = {"features": 8, "blocks": 1, "iterations": 1}
    torch.manual_seed(0)
    network = DAN(**options)
    weights.write_exact(path, network.state_dict(), "DAN", options)
    of = [str(path), "--recipe", "dan-real-x4", "--data", str(photographs), "--crop", "128"]
    more = tmp_path / "more"
    more.mkdir()
    shutil.copy(next(photographs.iterdir()), more)
    main([*of, "--data", str(more), "--repeats", "4"])  # the recipe says 64 features and T = 3
    state, header = weights.read(path)
    assert weights.told_options(header, path) == options
    changed = {key for key, value in network.state_dict().items() if not value.equal(state[key])}
    assert changed == {"degradation_tail.weight", "degradation_tail.bias"}
    assert " numbers on 20 degraded pictures" in capsys.readouterr().out
    odd = tmp_path / "odd.safetensors"
    weights.write_exact(odd, network.state_dict(), "DAN", options | {"mood": "good"})
    for wrong, complaint in (
        ([str(odd), *of[1:]], "mood"),
        (["none.safetensors", *of[1:]], "none.safetensors"),
        ([*of[:2], "dan-blur-x4", *of[3:]], "another scale or degradation than dan-blur-x4"),
        ([*of, "--repeats", "0"], "--repeats must be at least 1"),
        ([*of, "--crop", "4"], "--crop at least 76"),
        ([*of, "--repeats", "1"], "4 degraded pictures are too few"),
        ([*of[:2], "dan-real-x5", *of[3:]], "There is no recipe"),
        ([*of[:4], str(tmp_path / "nowhere"), *of[5:]], "not a folder"),
        ([*of[:2], "dmsr-x4", *of[3:]], "tells no vector"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(wrong)
        assert stop.value.code == 2 and complaint in capsys.readouterr().err
