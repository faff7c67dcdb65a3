"""Measures equal the field's, and estimates are judged fairly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sr_cli.degradation.layout import TWO_STAGE
from sr_cli.degradation.two_stage import TwoStageModel
from sr_cli.metrics import fidelity
from sr_cli.metrics.estimation import auc, correlation, skills
from sr_cli.metrics.evaluation import averages, bicubic, cases, measure
from sr_cli.metrics.perceptual import FEATURES_FILE, HEADS_FILE, PerceptualDistance
from sr_cli.metrics.protocols import PROTOCOLS
from tests.conftest import scene


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


def test_correlation_and_auc_of_known_cases() -> None:
    truth = torch.tensor([0.0, 0.0, 1.0, 1.0])
    assert auc(torch.tensor([0.1, 0.4, 0.35, 0.8]), truth) == pytest.approx(0.75)
    assert auc(torch.tensor([0.5, 0.5, 0.5, 0.5]), truth) == pytest.approx(0.5)
    assert auc(torch.ones(3), torch.ones(3)) is None
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


def test_the_real_protocol_makes_the_same_cases_again(photographs: Path) -> None:
    first = list(cases(PROTOCOLS["real"], photographs, seed=0))
    again = list(cases(PROTOCOLS["real"], photographs, seed=0))
    other = list(cases(PROTOCOLS["real"], photographs, seed=1))
    assert len(first) == 4
    for a, b, c in zip(first, again, other, strict=True):
        assert torch.equal(a.lr, b.lr)
        assert not torch.equal(a.lr, c.lr)
        assert a.hr.shape[-1] == 4 * a.lr.shape[-1]


def test_a_perfect_method_beats_bicubic(photographs: Path) -> None:
    case = next(cases(PROTOCOLS["real"], photographs, seed=0))
    noise = 0.01 * torch.randn(case.hr.shape, generator=torch.Generator().manual_seed(0))
    methods = {"bicubic": bicubic(4), "nearly": lambda lr: (case.hr + noise, None)}
    rows, vectors = measure(case, methods, border=4)
    means = averages(rows)
    # White noise of 2.55 levels in RGB is 2.55 * 0.56 levels in Y: 45 dB.
    assert means["nearly"]["psnr_y"] == pytest.approx(45, abs=0.7)
    assert means["bicubic"]["psnr_y"] < 35
    assert vectors == {}


def test_an_empty_folder_has_no_cases(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no picture"):
        next(cases(PROTOCOLS["real"], tmp_path, seed=0))


def make_features(folder: Path) -> None:
    """SqueezeNet 1.1 of the right shapes with random weights."""
    generator = torch.Generator().manual_seed(0)
    fires = {3: (64, 16, 64), 4: (128, 16, 64), 6: (128, 32, 128), 7: (256, 32, 128)}
    fires |= {9: (256, 48, 192), 10: (384, 48, 192), 11: (384, 64, 256), 12: (512, 64, 256)}
    shapes = {"features.0": (64, 3, 3, 3)}
    for number, (inside, squeeze, expand) in fires.items():
        shapes[f"features.{number}.squeeze"] = (squeeze, inside, 1, 1)
        shapes[f"features.{number}.expand1x1"] = (expand, squeeze, 1, 1)
        shapes[f"features.{number}.expand3x3"] = (expand, squeeze, 3, 3)
    weights = {}
    for name, shape in shapes.items():
        fan = shape[1] * shape[2] * shape[3]
        weights[f"{name}.weight"] = torch.randn(shape, generator=generator) * (2 / fan) ** 0.5
        weights[f"{name}.bias"] = torch.zeros(shape[0])
    save_file(weights, folder / FEATURES_FILE)
    channels = (64, 128, 256, 384, 384, 512, 512)
    heads = {f"lin{i}.model.1.weight": torch.ones(1, c, 1, 1) for i, c in enumerate(channels)}
    save_file(heads, folder / HEADS_FILE)


def test_the_perceptual_distance_is_zero_for_equals_and_grows_with_blur(tmp_path: Path) -> None:
    make_features(tmp_path)
    distance = PerceptualDistance(tmp_path)
    sharp = torch.from_numpy(scene(96, 96)).permute(2, 0, 1).unsqueeze(0).float() / 255
    softer = torch.nn.functional.avg_pool2d(sharp, 3, 1, 1)
    softest = torch.nn.functional.avg_pool2d(sharp, 9, 1, 4)
    assert float(distance(sharp, sharp)) == pytest.approx(0, abs=1e-6)
    assert 0 < float(distance(softer, sharp)) < float(distance(softest, sharp))


def test_missing_feature_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=FEATURES_FILE):
        PerceptualDistance(tmp_path)
