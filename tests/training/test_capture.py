"""On a GPU: steps replayed from a graph learn what steps called kernel by kernel learn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training.conftest import CPU, learner_of
from training.capture import REHEARSALS, Recorded
from training.initial import TrainingError
from training.pool import Pairs
from training.recipe import Recipe, load_recipe

NARROW = ["network.features=16", "network.blocks=2", "phase.0.batch=4", "phase.0.lr_crop=24"]


def learned(recipe: Recipe, *, captured: bool) -> tuple[list[float], list[Tensor], list[float]]:
    """Losses of six steps, another phase half way; weights then, and how far each has come."""
    learner, model = learner_of(recipe, torch.device("cuda"), captured=captured)
    networks = [learner.network, *([learner.adversary.discriminator] if learner.adversary else [])]
    begun = [p.detach().cpu() for network in networks for p in network.parameters()]
    generator = torch.Generator().manual_seed(0)
    losses: list[float] = []
    for step in range(6):
        if step % 3 == 0:
            learner.begin(replace(recipe.phase[0], batch=4 + step // 3))
        batch, scale = learner.phase.batch, recipe.network.scale
        sides = (recipe.phase[0].lr_crop, recipe.phase[0].lr_crop * scale)
        lr, hr = (
            torch.randint(256, (batch, 3, n, n), generator=generator, dtype=torch.uint8)
            for n in sides
        )
        truth = torch.zeros(batch, 0)
        if learner.objective.truth == "vector":
            truth = model.vector(model.sample(batch, generator))
        elif learner.objective.truth == "kernel":
            truth = model.kernels(model.sample(batch, generator))
        pairs = Pairs(lr.cuda(), hr.cuda(), truth.cuda())
        terms = learner.step(pairs, 1e-4)
        losses.append(float(terms["loss"]))
        assert (learner.graph is not None) == captured
        if learner.adversary is not None:
            losses[-1] += float(terms["discriminator"])
            assert (learner.judging is not None) == captured
    ended = [p.detach().cpu() for network in networks for p in network.parameters()]
    moved = [float((a - b).norm()) for a, b in zip(ended, begun, strict=True)]
    return losses, ended, moved


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
@pytest.mark.parametrize(
    ("name", "changes", "tolerance"),
    [
        ("dan-real-x4-continue", [], 1e-3),
        ("dan-blur-x4-continue", [], 1e-3),
        ("edsr-blur-x4-budget", [], 1e-3),
        # Rehearsals go on with the power iterations of the spectral norms.
        ("dan-real-gan-x4", ["loss.perceptual=0", "loss.discriminator_features=8"], 1e-2),
    ],
)
def test_a_replayed_step_learns_what_a_called_one_does(
    name: str, changes: list[str], tolerance: float
) -> None:
    recipe = load_recipe(name, [*NARROW, *changes])
    called, replayed = learned(recipe, captured=False), learned(recipe, captured=True)
    assert replayed[0] == pytest.approx(called[0], rel=tolerance)
    assert len(set(replayed[0])) == 6  # every batch anew
    for ours, theirs in zip(replayed[1], called[1], strict=True):
        assert float((ours - theirs).norm()) <= tolerance * float(theirs.norm()) + 1e-5
    # Steps are small beside weights: a network that stood still would pass for one that learned.
    assert replayed[2] == pytest.approx(called[2], rel=0.2)
    assert sum(called[2]) > 0


def test_a_step_is_recorded_on_the_device_that_it_computes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A graph of another device's stream would be empty, and nothing would learn."""
    there, where = torch.device("cuda:1"), [torch.device("cuda:0")]
    passed: list[tuple[torch.device, object]] = []
    streams: list[object] = ["usual"]

    class Stream:
        def __init__(self, device: torch.device | None = None) -> None:
            self.device = device or where[-1]

        def wait_stream(self, other: object) -> None:
            pass

    @contextmanager
    def within(stack: list[Any], item: object) -> Iterator[None]:
        stack.append(item)
        yield
        stack.pop()

    def graph(graph: object, stream: Stream | None = None) -> AbstractContextManager[None]:
        return within(streams, stream or Stream())

    fakes = {
        "Stream": Stream,
        "CUDAGraph": object,
        "graph": graph,
        "current_stream": Stream,
        "device": lambda device: within(where, device),
        "stream": lambda stream: within(streams, stream),
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)

    def passes() -> dict[str, Tensor]:
        passed.append((where[-1], streams[-1]))
        return {}

    Recorded(passes, lambda: None, there)
    assert len(passed) == REHEARSALS + 1
    for device, stream in passed:
        assert device == there and isinstance(stream, Stream) and stream.device == there
    assert where == [torch.device("cuda:0")]


def test_what_cannot_be_recorded_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe("edsr-blur-x4", NARROW)
    learner, _ = learner_of(recipe, CPU)
    assert not learner.captured  # there is no graph without a GPU
    learner.begin(recipe.phase[0])
    learner.captured = True

    def fail(*_: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nand much more")

    monkeypatch.setattr("training.learner.Captured", fail)
    pairs = Pairs(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 32, 32), torch.zeros(1, 0))
    with pytest.raises(TrainingError, match=r"stream is capturing\). Add --no-capture"):
        learner.step(pairs, 1e-3)

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr("training.learner.Captured", full)
    with pytest.raises(torch.OutOfMemoryError):  # which would not be different without a graph
        learner.step(pairs, 1e-3)
