"""Training starts from pictures alone, learns, stops, and goes on to the step."""

from __future__ import annotations

import errno
import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from sr_cli.metrics.fidelity import psnr_y
from sr_cli.networks.dan import DAN
from sr_cli.networks.danv2 import DANv2
from sr_cli.networks.edsr import EDSR
from sr_cli.zoo import weights
from sr_cli.zoo.loading import load
from tests.training.conftest import CPU, learner_of, one_picture
from training import checkpoint
from training.averaging import Average
from training.degradations import degrader
from training.feeder import Feeder
from training.initial import build_network
from training.journal import Journal, read_log
from training.packing import write_weights
from training.pool import Pairs
from training.processes import Processes
from training.progress import Health
from training.recipe import Recipe, load_recipe
from training.schedule import Position, decay_rate, stable_rate
from training.schema import Phase
from training.trainer import Trainer, TrainingError
from training.unroll import unroll


def test_a_run_goes_through_all_phases_and_leaves_loadable_weights(
    trainer: Callable[..., Trainer], small: Recipe, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    run = trainer(out)
    assert run.run() and run.step == 19
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    scores = [line["validation"] for line in lines if "validation" in line]
    assert len(scores) == 2 and scores[-1]["psnr_y"] > 3
    assert {"l1", "vector", "loss", "wait", "steps_per_second"} <= lines[-2].keys()
    assert sorted(p.name for p in (out / "strips").iterdir()) == ["00000010.png", "00000019.png"]
    path = write_weights(out, small, tmp_path)
    assert load(str(path)).network.iterations == 3


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
    trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    whole, pieces = trainer(tmp_path / "whole"), tmp_path / "pieces"
    assert whole.run()
    for last_step in range(4, 24, 4):
        part = trainer(pieces, last_step=last_step)
        assert part.resume() == (last_step > 4)
        assert part.run() == (last_step == 20)
        assert part.step == min(last_step, part.total_steps)
    ours, theirs = part.network.state_dict(), whole.network.state_dict()
    assert part.step == whole.step
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    average, other = part.average.state_dict(), whole.average.state_dict()
    assert all(torch.equal(average[key], other[key]) for key in other)


def test_being_asked_to_stop_ends_the_step_and_saves(
    trainer: Callable[..., Trainer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, step = trainer(tmp_path / "run"), Position.forward

    def asked(position: Position) -> None:
        step(position)
        run.stopping = position.step == 7

    monkeypatch.setattr(Position, "forward", asked)
    assert not run.run() and run.step == 7
    again = trainer(tmp_path / "run")
    assert again.resume() and again.step == 7


def test_several_processes_agree_to_stop_at_every_tenth_step(
    trainer: Callable[..., Trainer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, step = trainer(tmp_path / "run"), Position.forward
    run.processes.count = 2
    asked: list[int] = []
    monkeypatch.setattr(run.processes, "any", lambda here: asked.append(run.step) or here)

    def stopped(position: Position) -> None:
        step(position)
        run.stopping = position.step >= 3

    monkeypatch.setattr(Position, "forward", stopped)
    assert not run.run() and run.step == 10
    assert set(asked) == {0, 10}


def test_a_longer_stable_part_is_resumed_from_before_the_decay(
    trainer: Callable[..., Trainer], small_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    trainer(out).run()
    longer = trainer(out, load_recipe(str(small_file), ["phase.2.steps=8"]))
    assert longer.resume()
    assert longer.step == 15 and not longer.position.decaying


def test_a_run_can_start_from_the_weights_of_another(
    trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    path = tmp_path / "start.safetensors"
    source = DAN(features=8, blocks=2, iterations=1)
    save_file(source.state_dict(), path)
    run = trainer(tmp_path / "run", weights=path)
    for network in (run.network, run.average):
        weight = network.state_dict()["restorer.fusion.weight"]
        assert torch.equal(weight, source.restorer.fusion.weight)
    path.write_bytes(b"nonsense")
    with pytest.raises(TrainingError, match="Cannot start from"):
        trainer(tmp_path / "run", weights=path)


def test_a_run_can_take_what_fits_from_a_network_for_another_degradation(
    trainer: Callable[..., Trainer], small_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "start.safetensors"
    source = DAN(features=8, blocks=2, iterations=1, degradation_size=8)
    save_file(source.state_dict(), path)
    recipe = load_recipe(str(small_file), ["start.fitting=true"])
    found = trainer(tmp_path / "run", recipe, weights=path).network.state_dict()
    theirs = source.state_dict()
    fresh = {key for key in found if theirs[key].shape != found[key].shape}
    assert fresh and all(torch.equal(found[key], theirs[key]) for key in found.keys() - fresh)
    with pytest.raises(TrainingError, match="Cannot start from"):
        trainer(tmp_path / "run", weights=path)
    save_file({"other": torch.zeros(3)}, path)
    with pytest.raises(TrainingError, match="nothing in it fits"):
        trainer(tmp_path / "run", recipe, weights=path)


def test_the_twin_takes_a_dans_head_restorer_and_tail(tmp_path: Path) -> None:
    path = tmp_path / "start.safetensors"
    source = DAN(scale=2, features=8, blocks=2, iterations=1)
    save_file(source.state_dict(), path)
    narrow = ["network.features=8", "network.blocks=2", "start.fitting=true"]
    twin = build_network(load_recipe("edsr-blur-x2", narrow), start=path)
    assert isinstance(twin, EDSR)
    feature = source.head(torch.rand(1, 3, 8, 8))[0]
    assert torch.equal(twin.body(feature), source.restorer.body(feature))
    assert torch.equal(twin.head.weight, source.image_head.weight)
    enlarged = twin.last(twin.upsample(twin.closing(feature)))
    assert torch.equal(enlarged, source.image_tail(feature))


def test_a_time_budget_stops_cleanly(trainer: Callable[..., Trainer], tmp_path: Path) -> None:
    run = trainer(tmp_path / "run", time_budget=0)
    assert not run.run()
    assert (tmp_path / "run" / "stable" / "00000000" / "index.json").exists()
    # What there is can be used at once, at the T it was trained for so far.
    assert load(str(tmp_path / "run" / "ema.safetensors")).network.iterations == 1


def test_a_run_that_is_to_finish_decays_within_its_budget(
    trainer: Callable[..., Trainer],
    small_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("training.trainer.LOG_EVERY", 5)
    # A clock that goes on with every look: a busy machine must not decide.
    ticks = itertools.count()
    clock = SimpleNamespace(monotonic=lambda: next(ticks) / 100)
    monkeypatch.setattr("training.progress.time", clock)
    changes = ["phase.2.steps=100000", "decay_steps=10", "validation.every=1000"]
    recipe = load_recipe(str(small_file), changes)
    run = trainer(tmp_path / "run", recipe, time_budget=5.0, finish=True)
    assert run.run()  # it came to the decay's end, far from the recipe's
    assert run.position.decaying and run.step == run.position.branched_at + 10
    assert run.step < 50_000
    again = trainer(tmp_path / "run", recipe)
    assert again.resume() and again.step == run.position.branched_at
    assert not again.position.decaying


@pytest.mark.parametrize("later", [1, 3, 100])
def test_a_log_that_is_written_later_says_the_same(
    later: int, trainer: Callable[..., Trainer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.trainer.LOG_EVERY", 2)

    def log(name: str, later: int) -> list[dict[str, Any]]:
        run = trainer(tmp_path / name)
        run.later = later
        seen: list[int] = []
        assert run.run(lambda progress: seen.append(progress.step))
        lines = read_log(tmp_path / name)
        assert seen == [line["step"] for line in lines if "loss" in line]
        times = ("steps_per_second", "wait", "total_seconds")
        return [{k: v for k, v in line.items() if k not in times} for line in lines]

    at_once = log("at once", 0)
    assert len({line["phase"] for line in at_once if "phase" in line}) == 4
    assert log("later", later) == at_once


def test_the_loss_of_another_phase_does_not_stop_a_run_but_infinity_does(
    trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    run = trainer(tmp_path / "run", last_step=3)
    with torch.no_grad():
        next(run.network.parameters()).fill_(float("nan"))
    with pytest.raises(TrainingError, match="lower learning rate"):
        run.run()


def test_a_run_that_diverges_stops_before_it_replaces_its_last_state(
    trainer: Callable[..., Trainer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.trainer.LOG_EVERY", 1)
    out = tmp_path / "run"
    assert not trainer(out, last_step=7).run()
    run = trainer(out)
    assert run.resume()
    step, state = Position.forward, checkpoint.latest(out / "stable")

    def thrown(position: Position) -> None:
        step(position)
        if position.step == 9:
            with torch.no_grad():
                run.network.restorer.fusion.weight.mul_(1e3)

    monkeypatch.setattr(Position, "forward", thrown)
    with pytest.raises(TrainingError, match=r"rose from .* diverged.*phase\.1\.learning_rate"):
        run.run()
    assert run.step == 10 and checkpoint.latest(out / "stable") == state


def test_a_state_is_not_saved_once_its_loss_has_risen_though_no_line_of_the_log_is_due(
    trainer: Callable[..., Trainer],
    small_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = trainer(tmp_path / "run", load_recipe(str(small_file), ["save_minutes=0.0"]))
    step = Position.forward

    def thrown(position: Position) -> None:
        step(position)
        if position.step == 2:
            with torch.no_grad():
                run.network.estimator.fusion.weight.mul_(1e4)

    monkeypatch.setattr(Position, "forward", thrown)
    with pytest.raises(TrainingError, match=r"loss rose .* at step 3"):
        run.run()
    last = checkpoint.latest(tmp_path / "run" / "stable")
    assert last is not None and last.name == "00000002"


def test_a_hard_batch_and_another_phase_are_no_divergence() -> None:
    health = Health()
    assert [health.complaint("phase 1", loss) for loss in (0.02, 0.15, 0.01, 1.4)] == [None] * 4
    assert health.complaint("phase 2", 50.0) is None  # another loss, another scale
    assert health.complaint("phase 2", 501.0) == "rose from at most 50 to 501"


def test_a_resumed_run_goes_by_the_recipe_as_it_is_now(
    trainer: Callable[..., Trainer], small_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    trainer(out, last_step=2).run()
    again = trainer(out, load_recipe(str(small_file), ["optimiser.beta2=0.9"]))
    assert again.resume()
    assert [group["betas"] for group in again.learner.optimiser.adam.param_groups] == [(0.9, 0.9)]


def test_curves_are_written_for_tensorboard_on_request(
    trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    trainer(tmp_path / "run", last_step=2, curves=True).run()
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))


def test_a_batch_in_parts_gives_the_gradient_of_the_whole(
    trainer: Callable[..., Trainer], small_file: Path, tmp_path: Path
) -> None:
    runs = [
        trainer(
            tmp_path / str(parts),
            load_recipe(str(small_file), ["phase.0.steps=0", f"phase.1.accumulate={parts}"]),
            last_step=3,
        )
        for parts in (1, 4)
    ]
    for run in runs:
        run.run()
    whole, parts = (run.network.state_dict() for run in runs)
    # Adam's first steps divide by tiny gradients' own size, which makes much of rounding.
    assert all(torch.allclose(whole[k], parts[k], atol=2e-4) for k in whole)


def test_only_the_estimator_moves_while_it_trains_alone(
    trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    run = trainer(tmp_path / "run", last_step=2)
    before = {key: value.clone() for key, value in run.network.state_dict().items()}
    run.run()
    moved = {k for k, v in run.network.state_dict().items() if not torch.equal(v, before[k])}
    assert any(k.startswith("estimator") for k in moved)
    assert not any(k.startswith(("restorer", "image_tail")) for k in moved)


def test_a_restorer_that_trains_alone_is_given_the_truth_and_measured_with_it(
    trainer: Callable[..., Trainer], small_file: Path, tmp_path: Path
) -> None:
    changes = ["phase.0.trains='restorer'", "validation.every=2", "optimiser.ema=0"]
    run = trainer(tmp_path / "run", load_recipe(str(small_file), changes), last_step=2)
    before = {key: value.clone() for key, value in run.network.state_dict().items()}
    run.run()
    moved = {k for k, v in run.network.state_dict().items() if not torch.equal(v, before[k])}
    for part in ("image_head", "degradation_head", "restorer", "image_tail"):
        assert any(key.startswith(part) for key in moved)
    assert not any(k.startswith(("estimator", "degradation_tail", "initial")) for k in moved)
    log = (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    (scores,) = (line["validation"] for line in map(json.loads, log) if "validation" in line)
    held_out, network = run.validation, run.average
    assert held_out is not None and held_out.known is not None and isinstance(network, DAN)
    with torch.no_grad():
        sr = network.restore(held_out.lr, held_out.known)
    psnr = psnr_y(sr, held_out.hr.float() / 255, network.scale).mean()
    assert scores["psnr_y"] == pytest.approx(float(psnr), abs=1e-3)


def test_a_first_phase_is_measured_with_the_truth_though_the_last_asks_for_none(
    trainer: Callable[..., Trainer], small_file: Path, tmp_path: Path
) -> None:
    changes = ["phase.0.trains='restorer'", "validation.every=2", "loss.vector=0"]
    run = trainer(tmp_path / "run", load_recipe(str(small_file), changes), last_step=2)
    run.run()
    assert run.totals.psnr_y is not None


def test_a_phase_begins_without_the_gradients_of_the_one_before() -> None:
    changes = ["network.features=8", "network.blocks=1", "phase.0.batch=2", "phase.0.lr_crop=24"]
    recipe = load_recipe("dan-real-x4", [*changes, "phase.0.iterations=1"])
    learner, model = learner_of(recipe, CPU)
    learner.begin(recipe.phase[0])
    feeder = Feeder(one_picture(), model, recipe.data, 0, learner.processes)
    feeder.begin(recipe.phase[0], learner.objective.truth)
    learner.step(feeder.next(), 1e-3)
    assert any(p.grad is not None for p in learner.network.restorer.parameters())
    learner.begin(replace(recipe.phase[0], trains="estimator"))
    assert all(p.grad is None for p in learner.network.parameters())


def test_the_average_follows_and_forgets_its_start() -> None:
    network = torch.nn.Linear(1, 1)
    average = Average(network, 0.9)
    with torch.no_grad():
        network.weight.fill_(5.0)
    for _ in range(200):
        average.update(network)
    assert torch.allclose(average.network.weight, network.weight, atol=1e-4)
    plain = Average(network, 0.0)
    with torch.no_grad():
        network.weight.fill_(1.0)
    plain.update(network)
    assert torch.equal(plain.network.weight, network.weight)


def test_the_average_is_over_a_share_of_the_steps_until_these_are_many() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    average = Average(network, 0.99)

    def lag(steps: int) -> float:
        for _ in range(steps):
            with torch.no_grad():
                network.weight += 1
            average.update(network)
        return (network.weight - average.network.weight).item()

    assert lag(120) == pytest.approx(120 / 4, rel=0.05)
    assert lag(1880) == pytest.approx(99, rel=0.05)
    average.begin()
    assert lag(4) < 25


def test_the_average_begins_anew_with_every_phase(
    trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    run = trainer(tmp_path / "run", last_step=12)
    run.run()
    assert run.position.phase_step == 2 and run.learner.average.steps == 2


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


def _of_one_iteration() -> tuple[DAN, torch.Tensor]:
    torch.manual_seed(0)
    return DAN(features=16, blocks=4, iterations=1).eval(), torch.rand(2, 3, 24, 32)


def test_unrolling_keeps_what_the_network_computes() -> None:
    network, lr = _of_one_iteration()
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


def test_taking_iterations_back_keeps_every_update_at_its_size() -> None:
    network, lr = _of_one_iteration()
    with torch.inference_mode():
        before = network(lr)
        unroll(network, 3)
        unroll(network, 1)
        after = network(lr)
    assert network.iterations == 1
    for one, two in zip(before, after, strict=True):
        assert torch.allclose(one, two, atol=1e-4)


def test_only_from_one_iteration_is_weight_moved_to_the_low_resolution_input() -> None:
    network, _ = _of_one_iteration()
    weight = network.restorer.fusion.weight.detach()
    before = weight.clone()
    unroll(network, 2)
    torch.testing.assert_close(weight[:, :16], (before[:, :16] + before[:, 16:32]) / 2)
    assert not weight[:, 16:32].any()
    weight[:, 16:32] = 1  # what two iterations have learned of it
    unroll(network, 4)
    assert (weight[:, 16:32] == 0.5).all()


@pytest.mark.parametrize("trained", [1, 3])
@pytest.mark.parametrize("first", [1, 3])
def test_weights_are_turned_to_the_iterations_of_the_first_phase_with_steps(
    trainer: Callable[..., Trainer], small_file: Path, tmp_path: Path, trained: int, first: int
) -> None:
    torch.manual_seed(0)
    source = DAN(features=8, blocks=2, iterations=trained)
    path = tmp_path / "start.safetensors"
    weights.write_exact(path, source.state_dict(), "DAN", {"iterations": trained})
    empty = ["phase.0.steps=0"] if first == 1 else ["phase.0.steps=0", "phase.1.steps=0"]
    recipe = load_recipe(str(small_file), [*empty, "phase.2.iterations=3"])
    run = trainer(tmp_path / "run", recipe, weights=path)
    if trained != first:
        unroll(source, first)
    for network in (run.network, run.average):
        assert isinstance(network, DAN) and network.iterations == first
        for key, value in source.state_dict().items():
            assert torch.allclose(network.state_dict()[key], value, atol=1e-7), key


def test_rates_warm_up_halve_and_decay() -> None:
    phase = Phase(100, 1, 32, 1e-3, warmup=10, halve_at=(50, 80))
    rates = [stable_rate(phase, step) for step in (0, 9, 10, 49, 50, 80)]
    assert rates == pytest.approx([1e-4, 1e-3, 1e-3, 1e-3, 5e-4, 2.5e-4])
    assert decay_rate(2.5e-4, 0, 9) == pytest.approx(0.9 * 2.5e-4)
    assert decay_rate(2.5e-4, 8, 9) == pytest.approx(0.1 * 2.5e-4)


def test_a_decay_goes_on_from_the_rate_that_it_branches_off_from() -> None:
    phase = Phase(100, 1, 32, 1e-3, warmup=10, halve_at=(50, 80))
    recipe = replace(load_recipe("dan-real-x4"), phase=(phase,), decay_steps=9)
    for taken, rate in ((4, 5e-4), (20, 1e-3), (60, 5e-4), (100, 2.5e-4)):
        position = Position(recipe, phase_step=taken, step=taken)
        position.decay()
        assert position.rate == pytest.approx(0.9 * rate), taken
    before = Position(recipe, 0, 0, 20, True, 20)  # from a state that does not tell it
    assert before.rate == pytest.approx(0.9 * 2.5e-4)


def test_a_position_tells_its_phase_and_how_far_it_is() -> None:
    phases = Phase(3, 1, 32, 1e-3), Phase(2, 1, 32, 1e-3)
    recipe = replace(load_recipe("dan-real-x4"), phase=phases, decay_steps=4)
    position = Position(recipe)
    assert (position.name, position.last_phase, position.total_steps) == ("phase 1", False, 9)
    for _ in range(3):
        assert not position.phase_over
        position.forward()
    assert position.phase_over
    position.next_phase()
    position.forward()
    assert (position.name, position.last_phase, position.phase_over) == ("phase 2", True, False)
    position.decay()  # a step earlier than the recipe says
    assert (position.name, position.total_steps) == ("decay", 8)
    for _ in range(4):
        assert not position.phase_over
        position.forward()
    assert position.phase_over and position.step == 8


def test_no_release_is_made_of_an_estimator_alone(
    trainer: Callable[..., Trainer],
    small_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ticks = itertools.count()
    clock = SimpleNamespace(monotonic=lambda: next(ticks) / 100)
    monkeypatch.setattr("training.progress.time", clock)
    recipe = load_recipe(str(small_file), ["phase.0.steps=100000", "validation.every=1000"])
    run = trainer(tmp_path / "run", recipe, time_budget=5.0, finish=True)
    assert not run.run()  # stopped, to go on
    assert run.position.phase_index == 0 and not run.position.decaying


def timed_by(
    monkeypatch: pytest.MonkeyPatch, seconds: Callable[[Position], float]
) -> SimpleNamespace:
    """A clock (``now``) that goes on by the seconds that a step takes, and by nothing else."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("training.progress.time", SimpleNamespace(monotonic=lambda: clock.now))
    step = Position.forward

    def forward(position: Position) -> None:
        clock.now += seconds(position)
        step(position)

    monkeypatch.setattr(Position, "forward", forward)
    return clock


def test_a_state_is_saved_whenever_the_recipes_minutes_have_passed(
    trainer: Callable[..., Trainer],
    small_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timed_by(monkeypatch, lambda position: 30.0)
    saved, write = [], checkpoint.write

    def written(folder: Path, step: int, state: Mapping[str, Any]) -> Path:
        saved.append(step)
        return write(folder, step, state)

    monkeypatch.setattr(checkpoint, "write", written)
    recipe = load_recipe(str(small_file), ["save_minutes=1.25"])
    trainer(tmp_path / "run", recipe, last_step=8).run()
    assert saved == [3, 6, 8]


def test_the_seconds_of_all_of_a_runs_pieces_are_added_up(
    trainer: Callable[..., Trainer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed_by(monkeypatch, lambda position: 2.0)
    trainer(tmp_path, last_step=3).run()
    again = trainer(tmp_path, last_step=5)
    assert again.resume()
    again.run()
    told = [(line["total_seconds"], line["steps_per_second"]) for line in read_log(tmp_path)]
    assert told == [(6.0, 0.5), (10.0, 0.5)]
    assert again.totals.seconds == pytest.approx(10.0)


def test_a_validation_between_two_lines_of_the_log_is_told_with_its_time(
    trainer: Callable[..., Trainer],
    small_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timed_by(monkeypatch, lambda position: 2.0)
    recipe = load_recipe(str(small_file), ["validation.every=2", "phase.0.trains='all'"])
    trainer(tmp_path, recipe, last_step=5).run()
    told = [(line["step"], line["total_seconds"]) for line in read_log(tmp_path)]
    assert told == [(2, 4.0), (4, 8.0), (5, 10.0)]


def test_a_decay_that_began_in_time_is_not_cut_off_at_its_end(
    trainer: Callable[..., Trainer],
    small_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The decay's steps take a tenth longer than those that it was timed by.
    clock = timed_by(monkeypatch, lambda position: 1.1 if position.decaying else 1.0)
    changes = ["phase.0.steps=0", "phase.1.steps=0", "phase.2.steps=100", "decay_steps=40"]
    recipe = load_recipe(str(small_file), [*changes, "validation.every=1000"])
    run = trainer(tmp_path / "run", recipe, time_budget=60.0, finish=True)
    assert run.run() and run.position.branched_at == 19 and clock.now > 60
    # Without a word of finishing, a budget is a budget.
    clock.now = 0.0
    late = trainer(tmp_path / "late", recipe, time_budget=60.0)
    assert not late.run() and clock.now == 61


@pytest.mark.parametrize(
    ("first", "steps"),
    [
        (1.0, 20),  # once it is known how long a step takes, there is no room for twenty
        (50.0, 1),  # to fill the pool takes longer than there is
    ],
)
def test_a_decay_that_does_not_fit_is_not_begun(
    trainer: Callable[..., Trainer],
    small_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    first: float,
    steps: int,
) -> None:
    timed_by(monkeypatch, lambda position: 1.0 if position.step else first)
    changes = ["phase.0.steps=0", "phase.1.steps=0", "phase.2.steps=100", "decay_steps=20"]
    recipe = load_recipe(str(small_file), [*changes, "validation.every=1000"])
    run = trainer(tmp_path / "run", recipe, time_budget=19.5, finish=True)
    assert not run.run() and run.step == steps
    assert not run.position.decaying and not (tmp_path / "run" / "decay").exists()
    # With time enough for it, it comes later.
    rest = trainer(tmp_path / "run", recipe, time_budget=40.0, finish=True)
    assert rest.resume() and rest.run()
    assert rest.position.branched_at == run.step + 20 == rest.step - 20


def test_weights_that_are_no_numbers_do_not_replace_a_state(
    trainer: Callable[..., Trainer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of the last step is of the weights before it."""
    step = Position.forward
    spoiled = 3

    def thrown(position: Position) -> None:
        step(position)
        if position.step == spoiled:
            with torch.no_grad():
                run.network.restorer.fusion.weight[0, 0] = float("inf")

    monkeypatch.setattr(Position, "forward", thrown)
    out = tmp_path / "run"
    run = trainer(out, last_step=3)
    with pytest.raises(TrainingError, match=r"no numbers.*step 3.*Nothing was saved yet: begin"):
        run.run()
    assert checkpoint.latest(out / "stable") is None
    spoiled = 100
    run = trainer(out, last_step=3)
    run.run()
    spoiled = 15  # the last step of the stable part, behind which the decay branches off
    run = trainer(out)
    assert run.resume()
    with pytest.raises(TrainingError, match=r"no numbers.*Its last state is from before"):
        run.run()
    last = checkpoint.latest(out / "stable")
    assert last is not None and last.name == "00000003"


def test_a_run_goes_on_when_log_and_strips_cannot_be_written(
    trainer: Callable[..., Trainer],
    small_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("training.trainer.LOG_EVERY", 2)
    monkeypatch.setattr("training.journal.Journal.write", full)
    monkeypatch.setattr("training.validation.ValidationSet._draw", full)
    warnings: list[str] = []
    run = trainer(tmp_path / "run", load_recipe(str(small_file), ["validation.every=6"]))
    assert run.run(warn=warnings.append)
    assert warnings == [
        "The log could not be written: No space left on device. Training goes on.",
        "The strips could not be written: No space left on device. Training goes on.",
    ]
    assert run.totals.psnr_y is not None


def test_a_log_that_ends_within_a_line_is_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n{"step": 2, "lo')
    assert read_log(tmp_path) == [{"step": 1}]
    journal = Journal(tmp_path)
    journal.write(3, {"loss": 0.5})
    assert read_log(tmp_path) == [{"step": 1}, {"loss": 0.5, "step": 3}]
    Journal(tmp_path).write(4, {})
    assert (tmp_path / "log.jsonl").read_text().count("\n") == 4
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]  # no curves unasked


def test_a_log_is_gone_on_with_when_the_disk_is_no_longer_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, opened = Journal(tmp_path), Path.open
    journal.write(1, {})

    @contextmanager
    def full(path: Path, mode: str = "r", **how: Any) -> Iterator[object]:
        def write(text: str) -> None:
            file.write(text[:5])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with opened(path, mode, **how) as file:
            yield SimpleNamespace(write=write) if mode == "a" else file

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(Path, "open", full)
        journal.write(2, {})
    journal.write(3, {})
    assert [line["step"] for line in read_log(tmp_path)] == [1, 3]


def test_every_number_of_a_line_becomes_a_curve(tmp_path: Path) -> None:
    journal, drawn = Journal(tmp_path), []
    journal.writer = SimpleNamespace(
        add_scalar=lambda *point: drawn.append(point), flush=lambda: drawn.append("flushed")
    )
    scores = {"psnr_y": 30, "estimate": {"skill": 0.25}, "undrawn": None}
    journal.write(7, {"phase": "decay", "loss": 0.5, "half": True, "validation": scores})
    numbers = ("loss", 0.5), ("validation/psnr_y", 30.0), ("validation/estimate/skill", 0.25)
    assert drawn == [*((name, value, 7) for name, value in numbers), "flushed"]


def test_a_batch_must_divide_among_processes_and_parts() -> None:
    processes = Processes(CPU)
    assert processes.share(8, 2) == slice(0, 8)
    processes.count, processes.index = 4, 1
    assert processes.share(8, 2) == slice(2, 4)
    with pytest.raises(ValueError, match="batch of 12 cannot be divided among 4 processes in 2"):
        processes.share(12, 2)


def test_what_fits_is_taken_and_the_rest_is_fresh_and_said(tmp_path: Path) -> None:
    """DANv2 of other kernels has principal components of its own."""
    narrow = ["network.features=8", "network.groups=1", "network.group_blocks=1"]
    source = load_recipe("danv2-iso-x4", narrow)
    path = tmp_path / "start.safetensors"
    state = build_network(source, degrader(source)).state_dict()
    weights.write_exact(path, state, "DANv2", source.network.options)
    other = load_recipe("danv2-aniso-x2", [*narrow, "start.fitting=true"])
    told: list[str] = []
    network = build_network(other, degrader(other), path, told.append)
    assert isinstance(network, DANv2)
    assert float(network.encoder.abs().sum()) > 1
    (sentence,) = told
    assert (
        str(path) in sentence and f"the network's {len(network.state_dict())} tensors" in sentence
    )
    build_network(source, degrader(source), path, told.append)
    assert len(told) == 1  # all of it was taken


def test_pairs_of_a_batch_belong_together(trainer: Callable[..., Trainer], tmp_path: Path) -> None:
    pairs: Pairs = trainer(tmp_path / "run").feeder.next()
    small = torch.nn.functional.avg_pool2d(pairs.hr.float(), 4).flatten(1)
    low = pairs.lr.float().flatten(1)
    alike = torch.corrcoef(torch.cat((small, low)))[: len(low), len(low) :]
    assert (alike.argmax(1) == torch.arange(len(low))).all()
