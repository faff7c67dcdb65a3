"""A recipe of all kinds of phases that takes seconds, and trainers of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.conftest import scene
from tests.metrics.made import make_features
from training.corpus import Corpus, read_corpus
from training.degradations import Degrader, degrader
from training.initial import build_network
from training.learner import Learner
from training.losses import Objectives
from training.options import Options
from training.processes import Processes
from training.recipe import Recipe, load_recipe
from training.trainer import Trainer

CPU = torch.device("cpu")


def learner_of(recipe: Recipe, device: torch.device, **options: bool) -> tuple[Learner, Degrader]:
    """What learns by a recipe in float32, and what degrades its pictures; no phase has begun."""
    processes, model = Processes(device), degrader(recipe)
    network = build_network(recipe, model)
    objectives = Objectives(recipe, network, model, device)
    return Learner(network, recipe, objectives, processes, half=False, **options), model


def one_picture(side: int = 96) -> Corpus:
    """A corpus of one square picture."""
    pixels = torch.from_numpy(scene(side, side)).view(-1, 3)
    return Corpus(pixels, ((side, side),), (0,), ("scene",), (), 0)


SMALL = """
name = "small"
model = "small"
decay_steps = 4
[network]
features = 8
blocks = 2
[start]
high_pass_filters = 0.5
high_pass_gain = 16.0
[data]
pool = 8
reuse = 2
[loss]
vector = 0.1
[optimiser]
clip = 2.0
[[phase]]
steps = 5
batch = 4
lr_crop = 24
learning_rate = 1e-3
trains = "estimator"
iterations = 1
[[phase]]
steps = 5
batch = 4
lr_crop = 24
learning_rate = 1e-3
iterations = 1
warmup = 2
accumulate = 2
[[phase]]
steps = 5
batch = 2
lr_crop = 32
learning_rate = 1e-3
iterations = 3
[validation]
every = 10
crop = 128
degradations = 2
"""


@pytest.fixture
def small_file(tmp_path: Path) -> Path:
    """The small recipe's file."""
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


@pytest.fixture
def small(small_file: Path) -> Recipe:
    """Estimator alone, T = 1 in two parts a batch, T = 3, decay; 19 steps."""
    return load_recipe(str(small_file))


@pytest.fixture
def trainer(small: Recipe, photographs: Path) -> Callable[..., Trainer]:
    """Makes trainers in float32 on made pictures."""
    corpus = read_corpus([photographs], 128)

    def make(out: Path, recipe: Recipe = small, **options: object) -> Trainer:
        how = Options(half=False, **options)  # type: ignore[arg-type]
        return Trainer(recipe, corpus, corpus, out, CPU, how)

    return make


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of two pairs at x4: HR, and LR that is the mean of 4x4 pixels and 20 levels up."""
    folder = tmp_path_factory.mktemp("pairs")
    for number in range(2):
        hr = scene(144, 160, 50 + number)
        lr = hr.reshape(36, 4, 40, 4, 3).mean((1, 3)) * 0.9 + 20
        for name, picture in (("HR", hr), ("LR", lr.round().astype("uint8"))):
            (folder / name).mkdir(exist_ok=True)
            Image.fromarray(picture).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def features_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SqueezeNet's features and LPIPS's heads with random weights."""
    folder = tmp_path_factory.mktemp("features")
    make_features(folder)
    return folder
