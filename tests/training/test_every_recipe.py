"""`sr-cli train RECIPE` runs for every recipe, at a width that a test can wait for."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Outcome
from training.recipe import load_recipe, recipe_names

ASSETS = Path(__file__).parents[1] / "assets"
NARROW = {
    "DAN": ("features=8", "blocks=2"),
    "EDSR": ("features=8", "blocks=2"),
    "RRDB": ("features=8", "blocks=1", "growth=4"),
    "DANv1": ("features=32", "blocks=1", "estimator_blocks=1", "iterations=2"),
    "DANv2": ("features=8", "groups=1", "group_blocks=2", "estimator_blocks=1", "iterations=2"),
    "DSSR": ("features=8", "blocks=1", "refine_blocks=1", "iterations=2"),
    "DMSR": ("features=16", "groups=1", "blocks=1"),
}


def narrow(name: str, features_folder: Path) -> list[str]:
    """Changes that make a recipe small; every phase is entered within twenty steps."""
    recipe = load_recipe(name)
    changes = [f"network.{option}" for option in NARROW.get(recipe.network.family, ())]
    if "kernel_size" in recipe.network.options:
        changes += ["network.kernel_size=11", "data.kernel=11"]
    changes += ["data.pool=2", "validation.crop=96", "validation.degradations=1"]
    if "cpu" not in name and not recipe.loss.applying:  # standardising takes a second
        changes += ["loss.standardised=false"]
    if recipe.data.degradation == "learned":
        small = ("features=8", "noise_features=8", "kernel_blocks=1", "noise_blocks=1")
        changes += [f"pdm.{option}" for option in (*small, "discriminator_features=4")]
    changes += ["loss.feature_weights=[0.1, 0.1, 1.0, 1.0, 1.0]"]  # SqueezeNet has its own
    changes += ["validation.every=15", "loss.features=squeezenet"]
    changes += [f"loss.features_folder={features_folder}", "loss.discriminator_features=4"]
    for index in range(len(recipe.phase)):
        last = index + 1 == len(recipe.phase)
        changes += [f"phase.{index}.batch=2", f"phase.{index}.lr_crop=24"]
        changes += [] if last else [f"phase.{index}.steps=2"]
    return [part for change in changes for part in ("--set", change)]


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_trains_from_pictures_alone(
    name: str,
    program: Callable[..., Outcome],
    features_folder: Path,
    pairs: Path,
    tmp_path: Path,
) -> None:
    arguments = [name, "--data", ASSETS, "--out", tmp_path / "run"]
    learned = load_recipe(name).data.degradation == "learned"
    if learned:
        arguments += ["--low", ASSETS, "--val", pairs]
    else:
        arguments += ["--val", ASSETS]
    ended = program(
        "train", *arguments, "--steps", 20, "--precision", "fp32", *narrow(name, features_folder)
    )
    assert ended.status == 0, ended.err
    assert "stopped at step 20" in ended.out
    assert (tmp_path / "run" / "ema.safetensors").exists()
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    last = json.loads(lines[-1])
    assert last["step"] == 20 and math.isfinite(last["loss"])
    # While the degradation learns alone there is no picture to be measured.
    drawn = "degradation" if learned else "strips"
    assert (tmp_path / "run" / drawn / "00000015.png").exists()
