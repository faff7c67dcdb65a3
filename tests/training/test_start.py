"""What a run can begin with, and what it says of what it cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sr_cli.networks.edsr import EDSR
from sr_cli.zoo import weights
from sr_cli.zoo.loading import load
from tests.conftest import Outcome
from tests.networks.references import load as load_reference
from tests.networks.references import sources
from training.initial import TrainingError, build_network
from training.recipe import load_recipe


def published(name: str) -> dict[str, Tensor]:
    source = sources(name)[0].values[0]
    return dict(load_reference(source).state)


def test_a_published_checkpoint_is_a_start_as_it_is(tmp_path: Path) -> None:
    source = published("edsr-baseline-x4")
    path = tmp_path / "edsr.pth"
    torch.save({"params": source}, path)
    found = build_network(load_recipe("pdm-sr-x4"), start=path).state_dict()
    wanted = load(str(path)).network.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_a_model_of_the_zoo_is_a_start_by_its_name() -> None:
    found = build_network(load_recipe("dan-real-x4"), start="dan-real-x4")
    assert weights.digest(found.state_dict()) == load("dan-real-x4").digest


def test_what_fits_of_a_published_checkpoint_is_taken(tmp_path: Path) -> None:
    source = published("edsr-baseline-x4")
    path = tmp_path / "edsr.pth"
    torch.save(source, path)
    told: list[str] = []
    recipe = load_recipe("pdm-sr-x4", ["network.blocks=3", "start.fitting=true"])
    found = build_network(recipe, start=path, tell=told.append).state_dict()
    wanted = load(str(path)).network.state_dict()
    assert all(torch.equal(found[key], wanted[key]) for key in found)
    assert told == []


def test_weights_that_do_not_fit_are_one_sentence_with_a_way_out(tmp_path: Path) -> None:
    options = {"features": 8, "blocks": 2, "scale": 4}
    path = tmp_path / "edsr.safetensors"
    weights.write(path, EDSR(**options).state_dict(), "EDSR", options)
    with pytest.raises(TrainingError) as caught:
        build_network(load_recipe("dan-real-x4"), start=path)
    assert len(str(caught.value)) < 400 and "\n" not in str(caught.value)
    assert "it lacks" in str(caught.value) and "start.fitting=true" in str(caught.value)


def test_a_name_that_nobody_knows_is_told() -> None:
    with pytest.raises(TrainingError, match=r"Cannot start from dan-reel-x4: .*dan-real-x4"):
        build_network(load_recipe("dan-real-x4"), start="dan-reel-x4")


def test_a_folder_without_a_run_is_not_resumed(
    program: Callable[..., Outcome], tmp_path: Path
) -> None:
    wrong = tmp_path / "rnus"
    outcome = program("train", "--resume", "--out", wrong, "--data", tmp_path)
    assert outcome.status == 2 and "no run" in outcome.err and not wrong.exists()
