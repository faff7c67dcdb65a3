"""Training starts from pictures alone, learns, stops, and goes on to the step."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from sr_cli.degradation.two_stage import TwoStageModel
from sr_cli.networks.dan import DAN
from sr_cli.zoo.loading import load
from tests.conftest import scene
from training.corpus import CorpusError, Cropper, read_corpus
from training.losses import VectorLoss, label_deviation
from training.pool import Pairs, Pool
from training.recipe import Phase, Recipe, RecipeError, load_recipe, recipe_names
from training.release import write_weights
from training.schedule import decay_rate, stable_rate
from training.trainer import Trainer, TrainingError, build_network
from training.unroll import unroll

CPU = torch.device("cpu")
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
standardised = true
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
def small(tmp_path: Path) -> Recipe:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return load_recipe(str(path))


@pytest.fixture
def trainer(small: Recipe, photographs: Path) -> Callable[[Path], Trainer]:
    corpus = read_corpus([photographs], 128)

    def make(out: Path, recipe: Recipe = small) -> Trainer:
        return Trainer(recipe, corpus, corpus, out, CPU, half=False)

    return make


def test_a_run_goes_through_all_phases_and_leaves_loadable_weights(
    trainer: Callable[[Path], Trainer], small: Recipe, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    assert trainer(out).run()
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    scores = [line["validation"] for line in lines if "validation" in line]
    assert len(scores) == 2 and scores[-1]["psnr_y"] > 3
    path = write_weights(out, small, tmp_path)
    assert load(str(path)).network.iterations == 3


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
    trainer: Callable[[Path], Trainer], tmp_path: Path
) -> None:
    whole, pieces = trainer(tmp_path / "whole"), tmp_path / "pieces"
    assert whole.run()
    for _ in range(100):
        part = trainer(pieces)
        part.resume()
        before = part.step
        stop_after(part, 4)
        assert part.step == min(before + 4, part.total_steps)
        if part.step == part.total_steps:
            break
    ours, theirs = part.network.state_dict(), whole.network.state_dict()
    assert part.step == whole.step
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    average, other = part.average.state_dict(), whole.average.state_dict()
    assert all(torch.equal(average[key], other[key]) for key in other)


def stop_after(run: Trainer, steps: int) -> None:
    """Ask a run to stop, as a signal would, while its last step is under way."""
    train, taken = run._train_step, 0

    def counted(pairs: Pairs) -> dict[str, torch.Tensor]:
        nonlocal taken
        taken += 1
        run.stopping = taken == steps
        return train(pairs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "_train_step", counted)
        run.run()


def test_a_longer_stable_part_is_resumed_from_before_the_decay(
    trainer: Callable[..., Trainer], small: Recipe, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    trainer(out).run()
    path = tmp_path / "small.toml"
    longer = trainer(out, load_recipe(str(path), ["phase.2.steps=8"]))
    assert longer.resume()
    assert longer.step == 15 and not longer.decaying


def test_a_run_can_start_from_the_weights_of_another(
    small: Recipe, photographs: Path, tmp_path: Path
) -> None:
    path = tmp_path / "start.safetensors"
    source = DAN(features=8, blocks=2, iterations=1)
    save_file(source.state_dict(), path)
    corpus = read_corpus([photographs], 128)
    run = Trainer(small, corpus, None, tmp_path / "run", CPU, half=False, weights=path)
    for network in (run.network, run.average):
        weight = network.state_dict()["restorer.fusion.weight"]
        assert torch.equal(weight, source.restorer.fusion.weight)
    path.write_bytes(b"nonsense")
    with pytest.raises(TrainingError, match="Cannot start from"):
        Trainer(small, corpus, None, tmp_path / "run", CPU, half=False, weights=path)


def test_a_time_budget_stops_cleanly(trainer: Callable[[Path], Trainer], tmp_path: Path) -> None:
    run = trainer(tmp_path / "run")
    assert not run.run(time_budget=0)
    assert (tmp_path / "run" / "state.pt").exists()


def test_another_recipes_state_is_refused(trainer: Callable[..., Trainer], tmp_path: Path) -> None:
    out = tmp_path / "run"
    trainer(out).run(time_budget=0)
    other = load_recipe(str(tmp_path / "small.toml"), ["name='other'"])
    with pytest.raises(TrainingError, match="belongs to the recipe 'small'"):
        trainer(out, other).resume()
    (out / "state.pt").write_bytes(b"nonsense")
    with pytest.raises(TrainingError, match="cannot be read"):
        trainer(out).resume()


def test_both_losses_fall_on_one_batch(small: Recipe) -> None:
    network = build_network(small)
    unroll(network, 2)
    generator = torch.Generator().manual_seed(0)
    model = TwoStageModel()
    hr = torch.from_numpy(scene(96, 96)).permute(2, 0, 1).unsqueeze(0).float() / 255
    drawn = model.sample(1, generator)
    lr, vector = model.apply(hr, drawn, generator), drawn.vector()
    loss_of = VectorLoss(small.loss, label_deviation(model, 64))
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    history = []
    for _ in range(40):
        sr, estimate = network(lr)
        terms = torch.stack(((sr - hr).abs().mean(), loss_of(estimate, vector)))
        history.append(terms.detach())
        optimiser.zero_grad()
        terms.sum().backward()
        optimiser.step()
    assert (history[-1] < 0.5 * history[0]).all()


def test_the_two_modules_learn_from_their_own_loss_only() -> None:
    network = DAN(features=8, blocks=2)
    sr, vector = network(torch.rand(1, 3, 16, 16))
    gradients = torch.autograd.grad(
        sr.sum(), list(network.estimator.parameters()), retain_graph=True, allow_unused=True
    )
    assert all(g is None for g in gradients)
    gradients = torch.autograd.grad(
        vector.sum(), list(network.restorer.parameters()), allow_unused=True
    )
    assert all(g is None for g in gradients)


def test_unrolling_keeps_what_the_network_computes() -> None:
    torch.manual_seed(0)
    network = DAN(features=16, blocks=4, iterations=1).eval()
    lr = torch.rand(2, 3, 24, 32)
    with torch.inference_mode():
        before = network(lr)
        network.iterations = 3
        naive = network(lr)
    network.iterations = 1
    unroll(network, 3)
    with torch.inference_mode():
        after = network(lr)
    assert network.iterations == 3
    # What is left comes from the degradation feature, which the modules now meet on its way.
    for one, two, three in zip(before, after, naive, strict=True):
        assert (one - two).abs().mean() < 0.1 * (one - three).abs().mean()


def test_the_pool_gives_every_pair_out_with_its_own_vector() -> None:
    made = 0

    def make() -> Pairs:
        nonlocal made
        numbers = torch.arange(made, made + 4)
        made += 4
        flat = numbers.view(-1, 1, 1, 1).byte()
        return Pairs(flat.expand(4, 3, 2, 2), flat.expand(4, 3, 8, 8), numbers.float()[:, None])

    pool = Pool(make, 16, 4, reuse=2, generator=torch.Generator().manual_seed(0))
    for _ in range(20):
        pairs = pool.next()
        assert torch.equal(pairs.lr[:, 0, 0, 0].float(), pairs.vector[:, 0])
        assert torch.equal(pairs.hr[:, 0, 0, 0].float(), pairs.vector[:, 0])
        assert len(set(pairs.vector[:, 0].tolist())) == 4
    assert made == 16 + 4 * 9  # filled once, then a new batch every second time


def test_rates_warm_up_halve_and_decay() -> None:
    phase = Phase(100, 1, 32, 1e-3, warmup=10, halve_at=(50, 80))
    rates = [stable_rate(phase, step) for step in (0, 9, 10, 49, 50, 80)]
    assert rates == pytest.approx([1e-4, 1e-3, 1e-3, 1e-3, 5e-4, 2.5e-4])
    assert decay_rate(phase, 0, 9) == pytest.approx(0.9 * 2.5e-4)
    assert decay_rate(phase, 8, 9) == pytest.approx(0.1 * 2.5e-4)


def test_crops_come_from_all_pictures_in_all_eight_positions() -> None:
    marks = torch.zeros(40, 40, 3, dtype=torch.uint8).numpy()
    marks[:20, :30] = 255  # no symmetry at all
    marks[:10, :10] = 80
    cropper = Cropper([marks], torch.Generator().manual_seed(0))
    crops = cropper(200, 40)
    assert crops.shape == (200, 3, 40, 40) and crops.dtype == torch.uint8
    assert len({crop.numpy().tobytes() for crop in crops}) == 8


def test_unusable_pictures_are_counted_and_empty_folders_refused(tmp_path: Path) -> None:
    Image.fromarray(scene(100, 100)).save(tmp_path / "good.png")
    Image.fromarray(scene(50, 100)).save(tmp_path / "small.png")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    corpus = read_corpus([tmp_path], 64)
    assert (len(corpus.pictures), corpus.unreadable, corpus.too_small) == (1, 1, 1)
    with pytest.raises(CorpusError, match="1 unreadable, 2 smaller than 256"):
        read_corpus([tmp_path], 256)
    with pytest.raises(CorpusError, match="not a folder"):
        read_corpus([tmp_path / "missing"], 64)


@pytest.mark.parametrize("name", recipe_names())
def test_bundled_recipes_are_valid(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name and recipe.description
    assert recipe.network.degradation_size == 42


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("optimiser.emma=0.9", "unknown key 'optimiser.emma'.*'optimiser.ema'"),
        ("seed='x'", "'seed' must be a whole number"),
        ("data.preset='real'", "'data.preset' must be 'published' or 'physical'"),
        ("phase.0.steps=true", "must be a whole number"),
        ("phase.9.steps=1", "leads nowhere"),
        ("phase", "not of the form key=value"),
    ],
)
def test_mistakes_in_a_recipe_are_explained(change: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe("dan-real-x4", [change])


def test_an_unknown_recipe_is_answered_with_near_ones() -> None:
    with pytest.raises(RecipeError, match="dan-real-x4"):
        load_recipe("dan-reel-x4")
