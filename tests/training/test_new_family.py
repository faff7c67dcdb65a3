"""A network that is added as docs say, one file and no more, trains, is kept and is opened."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from torch import Tensor, nn

import training.recipe
from sr_cli.networks import registry
from sr_cli.networks.family import Family
from sr_cli.networks.stages import SuperResolver
from sr_cli.zoo.loading import load
from tests.conftest import Outcome, scene

Program = Callable[..., Outcome]
ASSETS = Path(__file__).parents[1] / "assets"
RECIPE = """
name = "told-x2"
model = "told-x2"
description = "A network of a test's own."
[network]
family = "Told"
scale = 2
degradation_size = 8
[data]
degradation = "blur"
pool = 2
[loss]
l1 = 1.0
rmse = 1.0
[validation]
every = 10
[[phase]]
steps = 3
batch = 2
lr_crop = 24
learning_rate = 1e-3
"""


class Told(SuperResolver):
    """Enlarges by one convolution and tells a vector of what it has seen on average."""

    def __init__(
        self,
        scale: int = 2,
        degradation_size: int = 8,
        kernel_size: int = 3,
        groups: int | None = None,
        widths: list[int] = [3],  # noqa: B006 - as people write it
    ) -> None:
        super().__init__()
        self.scale = scale
        self.up = nn.Conv2d(3, widths[0] * scale**2, kernel_size, padding=kernel_size // 2)
        self.tell = nn.Conv2d(3, degradation_size, 3, padding=1)
        self.shuffle = nn.PixelShuffle(scale)

    def forward(self, lr: Tensor) -> tuple[Tensor, Tensor]:
        return self.shuffle(self.up(lr)), self.tell(lr).mean((2, 3))


def detect(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
    if set(state) != {"up.weight", "up.bias", "tell.weight", "tell.bias"}:
        return None
    return {
        "scale": int((len(state["up.bias"]) // 3) ** 0.5),
        "degradation_size": len(state["tell.bias"]),
        "kernel_size": state["up.weight"].shape[-1],
    }


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    family = Family("Told", Told, detect, dict, ("up.weight", "tell.weight"), "vector")
    families = (*registry.FAMILIES, family)
    monkeypatch.setattr(registry, "FAMILIES", families)
    monkeypatch.setattr(training.recipe, "FAMILIES", families)
    path = tmp_path / "told.toml"
    path.write_text(RECIPE)
    return path


@pytest.mark.filterwarnings("ignore:.*matplotlib.*")
def test_a_network_of_ones_own_learns_what_it_estimates_and_is_opened(
    recipe: Path, program: Program, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    outcome = program("train", recipe, "--data", ASSETS, "--out", run)
    assert outcome.status == 0, outcome.err
    assert "There is no model card" in outcome.err
    assert "vector 0." in outcome.err and "rmse 0." in outcome.err
    assert "model card" not in outcome.out and "manifest entry" not in outcome.out
    assert outcome.out.strip().endswith(
        ("holds the weights", "holds the weights with their curves")
    )
    opened = load(str(run / "ema.safetensors"))
    assert isinstance(opened.network, Told)
    assert opened.layout is not None and len(opened.layout) == 8
    small = tmp_path / "small.png"
    Image.fromarray(scene(24, 32)).save(small)
    told = program("upscale", small, "-m", run / "ema.safetensors", "-o", tmp_path / "large.png")
    assert told.status == 0, told.err
    again = program("train", run / "recipe.toml", "--show")  # None is said by saying nothing
    assert again.status == 0 and "groups" not in again.out and "widths = [3]" in again.out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("network.degradation_size=42", r"a Told of 42 numbers .* does not describe .* 'blur'"),
        ("network.widths=[2048]", r"'network.widths' is \[2048\], and files of weights tell of"),
        ("network.degradation_size=2048", "'network.degradation_size' is 2048, and files"),
        ("network.widths=3", "'network.widths' must be a list, not 3"),
        ("name=../escaped", "'name' names files, so '../escaped' cannot be"),
        ("name=''", "'name' names files, so '' cannot be"),
    ],
)
def test_what_would_end_in_weights_that_nothing_opens_does_not_begin(
    recipe: Path, program: Program, tmp_path: Path, change: str, message: str
) -> None:
    run = tmp_path / "run"
    outcome = program("train", recipe, "--data", ASSETS, "--out", run, "--set", change)
    # What is wrong with a key is the command line's fault, what does not fit together the recipe's.
    assert outcome.status == (2 if "'" in message.partition(" ")[0] else 1)
    told = " ".join(outcome.err.replace("\u2502", " ").split())
    assert re.search(message, told), told
    assert not run.exists()
