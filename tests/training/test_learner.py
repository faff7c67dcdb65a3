"""What a step does with its gradient and its adversary, and what a network starts from."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from sr_cli.networks.dan import DAN
from sr_cli.networks.edsr import EDSR
from sr_cli.networks.pdm import PatchGAN
from sr_cli.networks.unet_discriminator import UNetDiscriminator
from tests.training.conftest import CPU, learner_of, one_picture
from training.feeder import Feeder
from training.initial import build_network
from training.learner import Learner
from training.losses.adversary import Measure, cross_entropy, squares
from training.pool import Pairs
from training.recipe import load_recipe

SMALL = ["network.features=16", "network.blocks=2", "data.pool=0"]
SMALL += ["phase.0.batch=2", "phase.0.lr_crop=24", "phase.0.iterations=2"]


def ready(name: str, *changes: str) -> tuple[Learner, Pairs]:
    """A learner that has begun its phase, and a batch."""
    recipe = load_recipe(name, [*SMALL, *changes])
    learner, model = learner_of(recipe, CPU)
    learner.begin(recipe.phase[0])
    feeder = Feeder(one_picture(), model, recipe.data, 0, learner.processes)
    feeder.begin(recipe.phase[0], learner.objective.truth)
    return learner, feeder.next()


def gradient_norm(network: nn.Module) -> float:
    return float(
        nn.utils.get_total_norm(p.grad for p in network.parameters() if p.grad is not None)
    )


def test_a_gradient_counts_no_more_than_a_multiple_of_the_usual(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learner, pairs = ready("dan-blur-x4", "optimiser.clip=3.0")
    taken: list[float] = []
    # Without a step, both passes give the same gradient.
    monkeypatch.setattr(
        learner.optimiser, "step", lambda rate: taken.append(gradient_norm(learner.network))
    )
    learner.step(pairs, 1e-3)
    usual = taken[0]  # the first is what the others are held against
    assert float(learner.gradient_norm) == pytest.approx(usual, rel=1e-5)
    learner.gradient_norm.fill_(usual / 100)
    learner.step(pairs, 1e-3)
    assert taken[1] == pytest.approx(3 * usual / 100, rel=1e-4)
    # What is usual follows what was taken, slowly.
    follows = usual / 100 * (1 + 0.01 * (3 - 1))
    assert float(learner.gradient_norm) == pytest.approx(follows, rel=1e-4)


def test_the_adversary_learns_at_the_rate_and_with_the_moments_of_the_network() -> None:
    learner, pairs = ready(
        *("dan-real-gan-x4", "loss.perceptual=0", "loss.discriminator_features=4"),
        *("optimiser.beta1=0.5", "optimiser.beta2=0.75"),
    )
    adversary = learner.adversary
    assert adversary is not None
    assert adversary.optimiser.param_groups[0]["betas"] == (0.5, 0.75)

    def moved(rate: float) -> float:
        before = [p.detach().clone() for p in adversary.discriminator.parameters()]
        learner.step(pairs, rate)
        after = [p.detach() for p in adversary.discriminator.parameters()]
        return max(float((a - b).abs().max()) for a, b in zip(after, before, strict=True))

    # Adam's first step is as long as its rate.
    assert moved(1e-3) == pytest.approx(1e-3, rel=0.01)
    assert moved(0.0) == 0


@pytest.mark.parametrize("parts", [1, 2])
def test_a_step_is_called_for_on_pictures_from_0_to_1_and_followed_by_the_average(
    parts: int,
) -> None:
    small = (*SMALL[:3], "phase.0.batch=4", "phase.0.lr_crop=16", f"phase.0.accumulate={parts}")
    recipe = load_recipe("edsr-blur-x4", small)
    learner, _ = learner_of(recipe, CPU)
    learner.begin(recipe.phase[0])
    draw = torch.Generator().manual_seed(0)
    lr, hr = (torch.randint(256, (4, 3, n, n), generator=draw).byte() for n in (16, 64))
    with torch.no_grad():
        sr = learner.network(lr / 255)[0]
    before = {k: v.clone() for k, v in learner.average.network.state_dict().items()}
    terms = learner.step(Pairs(lr, hr, torch.zeros(4, 0)), 1e-3)
    assert float(terms["l1"]) == pytest.approx(float((sr - hr / 255).abs().mean()), rel=1e-5)
    assert terms["loss"] == terms["l1"] and not terms["l1"].requires_grad
    # The first step of an average is three quarters of the way.
    for key, value in learner.network.state_dict().items():
        wanted = before[key].lerp(value, 0.75)
        torch.testing.assert_close(learner.average.network.state_dict()[key], wanted)


@pytest.mark.parametrize(
    ("name", "kind", "measure", "share"),
    [("unet", UNetDiscriminator, cross_entropy, 1.0), ("patch", PatchGAN, squares, 0.5)],
)
def test_an_adversary_learns_what_was_published_for_its_kind(
    name: str, kind: type[nn.Module], measure: Measure, share: float
) -> None:
    changes = [*SMALL, "loss.perceptual=0", "loss.discriminator_features=4"]
    recipe = load_recipe("dan-real-gan-x4", [*changes, f"loss.discriminator='{name}'"])
    adversary = learner_of(recipe, CPU)[0].adversary
    assert adversary is not None and isinstance(adversary.discriminator, kind)
    assert adversary.measure is measure and adversary.share == share


def test_an_adversary_waits_while_no_pictures_are_made() -> None:
    changes = ("loss.perceptual=0", "loss.discriminator_features=4", "loss.vector=1")
    learner, pairs = ready("dan-real-gan-x4", *changes, "phase.0.trains='estimator'")
    adversary = learner.adversary
    assert adversary is not None
    before = [p.detach().clone() for p in adversary.discriminator.parameters()]
    terms = learner.step(pairs, 1e-3)
    assert terms.keys() == {"loss", "vector"}
    assert all(map(torch.equal, before, adversary.discriminator.parameters()))


def test_a_graph_is_of_one_phase_and_one_state(monkeypatch: pytest.MonkeyPatch) -> None:
    learner, pairs = ready("dan-blur-x4")
    recorded: list[Pairs] = []

    def record(passes: Callable[[Pairs], dict[str, Tensor]], _: object, some: Pairs) -> object:
        recorded.append(some)
        return passes

    monkeypatch.setattr("training.learner.Captured", record)
    learner.captured = True
    for _ in range(2):
        learner.step(pairs, 1e-3)
    assert len(recorded) == 1
    learner.begin(learner.phase)
    learner.step(pairs, 1e-3)
    assert len(recorded) == 2
    learner.load(learner.state())
    learner.step(pairs, 1e-3)
    assert len(recorded) == 3


def weights_of(module: nn.Module) -> list[Tensor]:
    return [m.weight.detach() for m in module.modules() if isinstance(m, nn.Conv2d)]


def test_a_dan_starts_with_high_passes_and_a_louder_estimator() -> None:
    plain, made = (
        build_network(load_recipe("dan-real-x4", [*SMALL, *changes]))
        for changes in (
            (),
            (
                *("start.high_pass_filters=0.25", "start.high_pass_gain=8.0"),
                "start.estimator_gain=2.0",
            ),
        )
    )
    assert isinstance(plain, DAN) and isinstance(made, DAN)
    before, after = plain.image_head.weight.detach(), made.image_head.weight.detach()
    high, rest = slice(4), slice(4, None)  # a quarter of 16 filters
    wanted = 8 * (before[high] - before[high].mean((2, 3), keepdim=True))
    torch.testing.assert_close(after[high], wanted)
    assert torch.equal(after[rest], before[rest])
    assert made.image_head.bias is not None and plain.image_head.bias is not None
    assert not made.image_head.bias[high].any()
    assert torch.equal(made.image_head.bias[rest], plain.image_head.bias[rest])
    body = zip(weights_of(made.estimator.body), weights_of(plain.estimator.body), strict=True)
    assert all(torch.equal(a, 2 * b) for a, b in body)
    assert torch.equal(made.restorer.body[0].conv1.weight, plain.restorer.body[0].conv1.weight)


def test_residual_branches_start_smaller() -> None:
    small = [change for change in SMALL if "iterations" not in change]
    plain, made = (
        build_network(load_recipe("edsr-blur-x4", [*small, f"start.residual_gain={gain}"]))
        for gain in (1.0, 0.1)
    )
    assert isinstance(plain, EDSR) and isinstance(made, EDSR)
    for before, after in zip(plain.body, made.body, strict=True):
        first, last = (weights_of(block) for block in (before, after))
        torch.testing.assert_close(last[-1], 0.1 * first[-1])
        assert torch.equal(last[0], first[0])
