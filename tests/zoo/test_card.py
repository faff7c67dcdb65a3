"""Model cards tell what the manifest knows, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from huggingface_hub import ModelCard

from sr_cli.networks import registry
from sr_cli.zoo import card, manifest, store, weights
from sr_cli.zoo.loading import load
from tests.conftest import Outcome

Program = Callable[..., Outcome]


def test_a_dry_run_writes_what_would_be_published(program: Program, tmp_path: Path) -> None:
    folder = tmp_path / "card"
    command = ("models", "publish", "dan-real-x4", "--repo", "me/dan", "--dry-run", "-o", folder)
    done = program(*command)
    assert done.status == 0, done.err
    assert sorted(path.name for path in folder.iterdir()) == [
        *("README.md", "config.json", "model.safetensors")
    ]
    model = manifest.find("dan-real-x4")
    assert model.weights is not None
    assert store.sha256(folder / "model.safetensors") == model.weights.sha256
    assert load(str(folder / "model.safetensors")).estimate == model.estimate
    settings = json.loads((folder / "config.json").read_text())
    assert settings["network"] == "DAN" and settings["options"] == model.options
    again = program(*command)
    assert again.status == 1 and "is there already" in again.err


def test_the_card_is_one_for_the_hub() -> None:
    model = manifest.find("dan-real-x4")
    read = ModelCard(card.card(model, "me/dan"))
    assert (read.data.license, read.data.library_name) == ("apache-2.0", "sr-cli")
    results = read.data.eval_results
    assert results is not None
    assert model.figures[0]["psnr_y"] in [result.metric_value for result in results]
    for text in ("hf:me/dan/model.safetensors", model.paper.title, "stage2.jpeg_quality", "25.47"):
        assert text in read.text


def test_a_file_of_ones_own_gets_a_card_without_others_figures(
    program: Program, tmp_path: Path
) -> None:
    options = {"scale": 4, "features": 8, "blocks": 1}
    state = registry.family("EDSR").build(**options).state_dict()
    path = tmp_path / "mine.safetensors"
    weights.write(path, state, "EDSR", options, licence="MIT")
    folder = tmp_path / "card"
    done = program("models", "publish", path, "--repo", "me/mine", "--dry-run", "-o", folder)
    assert done.status == 0, done.err
    text = (folder / "README.md").read_text()
    assert "license: mit" in text and "# mine" in text
    assert "Reported by" not in text and "model-index" not in text


def test_a_pickle_is_not_published(program: Program, tmp_path: Path) -> None:
    torch.save({}, tmp_path / "net.pth")
    folder = tmp_path / "card"
    command = ("models", "publish", tmp_path / "net.pth", "--repo", "me/x", "--dry-run")
    done = program(*command, "-o", folder)
    assert done.status == 1 and "sr-cli convert" in done.err
    assert not folder.exists()
    done = program("models", "publish", "dan-real-x4", "--repo", "nonsense", "--dry-run")
    assert done.status == 1 and "owner/repo" in done.err
