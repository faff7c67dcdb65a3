"""Measures equal the field's, and estimates are judged fairly."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sr_cli.degradation.layout import TWO_STAGE
from sr_cli.degradation.two_stage import TwoStageModel
from sr_cli.metrics import fidelity, perceptual
from sr_cli.metrics.estimation import auc, correlation, skills
from sr_cli.metrics.perceptual import PerceptualDistance
from sr_cli.metrics.perceptual_alex import AlexDistance
from sr_cli.metrics.squeezenet import FEATURES_FILE, HEADS_FILE
from tests.conftest import scene
from tests.metrics.made import make_features, picture


@pytest.fixture(scope="module")
def reference() -> Mapping[str, Any]:
    with np.load(Path(__file__).parents[1] / "reference" / "degradation.npz") as arrays:
        return {key: arrays[key] for key in arrays.files if key.startswith("metric/")}


@pytest.mark.parametrize("kind", ["psnr", "ssim"])
def test_psnr_and_ssim_equal_the_published_code(reference: Mapping[str, Any], kind: str) -> None:
    sr = torch.from_numpy(reference["metric/sr"])
    hr = torch.from_numpy(reference["metric/gt"])
    border = int(reference["metric/crop_border"])
    on_y, on_rgb = getattr(fidelity, f"{kind}_y"), getattr(fidelity, f"{kind}_rgb")
    ours = {
        f"{kind}_rgb": on_rgb(sr, hr, border),
        f"{kind}_y_uint8": on_y(sr, hr, border),
        f"{kind}_y_float": on_y(sr, hr, border, rounded=False),
    }
    for key, value in ours.items():
        assert value.tolist() == pytest.approx(reference[f"metric/{key}"].tolist(), abs=1e-6)


@pytest.mark.parametrize(("dark", "bright"), [(0, 3), (2, 10), (100, 140)])
def test_ssim_of_flat_pictures_is_that_of_their_means_alone(dark: int, bright: int) -> None:
    flat, other = (torch.full((1, 3, 12, 12), level / 255) for level in (dark, bright))
    wanted = (2 * dark * bright + 2.55**2) / (dark**2 + bright**2 + 2.55**2)
    assert float(fidelity.ssim_rgb(flat, other, 0)) == pytest.approx(wanted, abs=1e-9)


def test_correlation_and_auc_of_known_cases() -> None:
    truth = torch.tensor([0.0, 0.0, 1.0, 1.0])
    assert auc(torch.tensor([0.1, 0.4, 0.35, 0.8]), truth) == pytest.approx(0.75)
    assert auc(torch.tensor([0.5, 0.5, 0.5, 0.5]), truth) == pytest.approx(0.5)
    assert auc(torch.ones(3), torch.ones(3)) is None
    generator = torch.Generator().manual_seed(0)
    score = (torch.rand(500, generator=generator) * 20).round()
    has = torch.rand(500, generator=generator) < 0.3
    difference = score[has][:, None] - score[~has][None]
    area = ((difference > 0) + 0.5 * (difference == 0)).mean()
    assert auc(score, has.float()) == pytest.approx(float(area))
    assert correlation(torch.tensor([1.0, 2, 3]), torch.tensor([6.0, 4, 2])) == pytest.approx(-1)
    assert correlation(torch.ones(3), torch.tensor([1.0, 2, 3])) == 0


def test_skill_is_measured_only_where_a_number_applies() -> None:
    generator, model = torch.Generator().manual_seed(0), TwoStageModel()
    truth = torch.cat([model.sample(1, generator).vector() for _ in range(200)])
    estimate = truth.clone()
    quality = next(p.index for p in TWO_STAGE.parameters if p.key == "stage2.jpeg_quality")
    is_jpeg = next(p.index for p in TWO_STAGE.parameters if p.key == "stage2.is_jpeg")
    compressed = truth[:, is_jpeg] > 0.5
    estimate[~compressed, quality] = -9  # never looked at
    estimate[compressed, quality] += 0.1
    found = {s.key: s for s in skills(TWO_STAGE, estimate, truth)}["stage2.jpeg_quality"]
    assert found.count == int(compressed.sum())
    assert found.correlation == pytest.approx(1)
    assert found.error == pytest.approx(6.5, rel=1e-3)  # a tenth of 30 .. 95


def test_an_error_is_in_the_units_of_each_pictures_own_range() -> None:
    generator, model = torch.Generator().manual_seed(0), TwoStageModel()
    truth = torch.cat([model.sample(1, generator).vector() for _ in range(400)])
    by_key = {p.key: p.index for p in TWO_STAGE.parameters}
    beta = by_key["stage1.beta"]
    there = truth[:, by_key["stage1.is_sinc"]] < 0.5
    plateau = truth[there, by_key["stage1.is_gaussian"]] < 0.5
    estimate = truth.clone()
    estimate[:, beta] += 0.1
    found = {s.key: s for s in skills(TWO_STAGE, estimate, truth)}["stage1.beta"]
    spans = torch.where(plateau, 2.0 - 1.0, 4.0 - 0.5)
    assert 0 < plateau.sum() < len(plateau)
    assert found.error == pytest.approx(float(0.1 * spans.mean()), rel=1e-4)


def test_bands_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    hr = picture(83, 70).unsqueeze(0)
    sr = (hr + 0.05 * torch.randn(hr.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    measures = (fidelity.psnr_y, fidelity.ssim_y, fidelity.psnr_rgb, fidelity.ssim_rgb)
    whole = [float(one(sr, hr, 3)) for one in measures]
    monkeypatch.setattr(fidelity, "BAND", 7)
    assert [float(one(sr, hr, 3)) for one in measures] == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize(
    ("measure", "least"),
    [(fidelity.psnr_y, 9), (fidelity.psnr_rgb, 9), (fidelity.ssim_y, 19), (fidelity.ssim_rgb, 19)],
)
def test_what_a_border_leaves_nothing_of_is_refused(
    measure: Callable[[Tensor, Tensor, int], Tensor], least: int
) -> None:
    small = torch.rand(1, 3, 40, least)
    assert math.isfinite(float(measure(small, small / 2, 4)))
    with pytest.raises(ValueError, match=f"{least - 1}x40 is too small .* border of 4"):
        measure(small[..., 1:], small[..., 1:], 4)


def test_the_perceptual_distance_is_zero_for_equals_and_grows_with_blur(tmp_path: Path) -> None:
    make_features(tmp_path)
    distance = PerceptualDistance(tmp_path)
    sharp = torch.from_numpy(scene(96, 96)).permute(2, 0, 1).unsqueeze(0).float() / 255
    softer = torch.nn.functional.avg_pool2d(sharp, 3, 1, 1)
    softest = torch.nn.functional.avg_pool2d(sharp, 9, 1, 4)
    assert float(distance(sharp, sharp)) == pytest.approx(0, abs=1e-6)
    assert 0 < float(distance(softer, sharp)) < float(distance(softest, sharp))
    side = distance.smallest
    assert math.isfinite(float(distance(sharp[..., :side], softest[..., :side])))


@pytest.mark.parametrize("name", [FEATURES_FILE, HEADS_FILE])
def test_missing_feature_files_are_named(tmp_path: Path, name: str) -> None:
    make_features(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"must hold .*; {name} is not there"):
        PerceptualDistance(tmp_path)


VGG = {"features.0.weight": torch.zeros(64, 3, 3, 3), "features.0.bias": torch.zeros(64)}


@pytest.mark.parametrize(
    ("name", "state", "told"),
    [
        (FEATURES_FILE, {"conv1.weight": torch.zeros(1)}, "features.0.weight is missing"),
        (FEATURES_FILE, VGG, "features.3.squeeze.weight is missing"),
        (
            FEATURES_FILE,
            {"features.0.weight": torch.zeros(96, 3, 7, 7)},
            "features.0.weight is 96x3x7x7, not 64x3x3x3",
        ),
        (
            HEADS_FILE,
            {"lin0.model.1.weight": torch.tensor(1.0)},
            "a single number, not 1x64x1x1",
        ),
    ],
)
def test_feature_files_of_another_network_are_told(
    tmp_path: Path, name: str, state: dict[str, Tensor], told: str
) -> None:
    make_features(tmp_path)
    save_file(state, tmp_path / name)
    with pytest.raises(ValueError, match=f"not of SqueezeNet 1.1 and LPIPS's heads: .*{told}"):
        PerceptualDistance(tmp_path)


def test_a_damaged_feature_file_is_named(tmp_path: Path) -> None:
    make_features(tmp_path)
    (tmp_path / HEADS_FILE).write_bytes(b"nothing")
    with pytest.raises(ValueError, match=f"{HEADS_FILE} cannot be read"):
        PerceptualDistance(tmp_path)


def test_the_classifier_may_be_in_the_features_file(tmp_path: Path) -> None:
    make_features(tmp_path)
    one, other = torch.rand(2, 1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    plain = PerceptualDistance(tmp_path)(one, other)
    path = tmp_path / FEATURES_FILE
    save_file(load_file(path) | {"classifier.1.weight": torch.zeros(1000, 512, 1, 1)}, path)
    assert torch.equal(PerceptualDistance(tmp_path)(one, other), plain)


def test_the_perceptual_distance_of_tiles_is_that_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_features(tmp_path)
    distance = PerceptualDistance(tmp_path)
    hr = torch.from_numpy(scene(331, 290)).permute(2, 0, 1).unsqueeze(0).float() / 255
    sr = torch.nn.functional.avg_pool2d(hr, 3, 1, 1)
    whole = float(distance(sr, hr))
    monkeypatch.setattr(perceptual, "TILE", 128)
    assert float(distance(sr, hr)) == pytest.approx(whole, rel=1e-5)


def test_without_the_lpips_package_a_sentence_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(ImportError, match=r"sr-cli\[lpips\]"):
        AlexDistance()


def test_lpips_alex_is_zero_for_equals_and_grows_with_blur() -> None:
    pytest.importorskip("lpips")
    try:
        distance = AlexDistance()
    except FileNotFoundError:
        pytest.skip("AlexNet's weights cannot be fetched here")
    sharp = picture(96, 96).unsqueeze(0)
    softer = torch.nn.functional.avg_pool2d(sharp, 3, 1, 1)
    softest = torch.nn.functional.avg_pool2d(sharp, 9, 1, 4)
    assert float(distance(sharp, sharp)) == pytest.approx(0, abs=1e-6)
    assert 0 < float(distance(softer, sharp)) < float(distance(softest, sharp))


class Handed:
    """Takes the place of `lpips.LPIPS`: the mean difference of what it is handed."""

    def __init__(self, net: str, verbose: bool) -> None:
        assert net == "alex"

    def eval(self) -> Handed:
        return self

    def __call__(self, sr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
        return (sr - hr).abs().mean((1, 2, 3), keepdim=True)


def test_the_lpips_package_is_handed_pictures_from_minus_one_to_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "lpips", SimpleNamespace(LPIPS=Handed))
    black, white = torch.zeros(2, 3, 8, 8), torch.ones(2, 3, 8, 8)
    assert AlexDistance()(white * 7, black).tolist() == [2, 2]  # clamped, then from -1 to 1


def test_alexnet_that_cannot_be_fetched_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(**_: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setitem(sys.modules, "lpips", SimpleNamespace(LPIPS=offline))
    with pytest.raises(FileNotFoundError, match="internet once"):
        AlexDistance()
