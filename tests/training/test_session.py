"""What a session sees to before it trains."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from PIL import Image

from sr_cli.temporary import claimed
from tests.conftest import Outcome, scene
from tests.training.conftest import CPU
from training import checkpoint
from training.initial import keep_start
from training.learner import Learner
from training.options import Options
from training.processes import Processes
from training.recipe import load_recipe
from training.record import RECORD
from training.schema import Recipe
from training.session import (
    HOST_THREADS,
    _stopping_cleanly,
    listed,
    run_session,
    spare_threads,
)
from training.trainer import Trainer, TrainingError


def test_a_budget_that_ends_before_the_decay_can_begin_is_told(
    small: Recipe, small_file: Path, photographs: Path, tmp_path: Path
) -> None:
    def ended(recipe: Recipe = small, **options: object) -> str:
        how = Options(half=False, **options)  # type: ignore[arg-type]
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        return run_session(
            *(recipe, [photographs], None, folder, CPU),
            options=how,
            resume=False,
            tell=lambda _: None,
            bar=lambda *_: None,
        )

    assert "(the budget ended before" in ended(time_budget=0, finish=True)
    assert "budget" not in ended(time_budget=1e9, last_step=2, finish=True)
    assert "budget" not in ended(time_budget=0)
    whole = load_recipe(str(small_file), ["phase.0.steps=0"])
    told = ended(whole, time_budget=0, finish=True)
    assert "(the decay's 4 steps did not fit into what was left of the budget)" in told
    decaying = load_recipe(str(small_file), [f"phase.{n}.steps=0" for n in range(3)])
    assert "(the budget ended within the decay)" in ended(decaying, time_budget=0, finish=True)


def test_a_run_beyond_the_step_that_it_is_to_stop_behind_blames_no_budget(
    small: Recipe, photographs: Path, tmp_path: Path
) -> None:
    for last_step in (2, 1):
        said = run_session(
            *(small, [photographs], None, tmp_path, CPU),
            options=Options(half=False, time_budget=1e9, last_step=last_step, finish=True),
            resume=last_step == 1,
            tell=lambda _: None,
            bar=lambda *_: None,
        )
        assert said == "stopped at step 2 of 19; --resume goes on"


@pytest.mark.parametrize("kind", ["stable", "decay"])
def test_a_folder_that_holds_any_state_is_not_begun_in(
    kind: str, small: Recipe, photographs: Path, tmp_path: Path
) -> None:
    """The stable part may not have been saved, where the disk was full."""
    checkpoint.write(tmp_path / kind, 17, {})
    with pytest.raises(TrainingError, match="Add --resume to go on"):
        session(small, photographs, tmp_path, resume=False)


def test_who_stops_a_run_by_hand_is_told_of_no_budget(
    small: Recipe, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "run", lambda run, *_: setattr(run, "stopping", True))
    said = run_session(
        *(small, [photographs], None, tmp_path, CPU),
        options=Options(half=False, time_budget=1e9, finish=True),
        resume=False,
        tell=lambda _: None,
        bar=lambda *_: None,
    )
    assert said == "stopped at step 0 of 19; --resume goes on"


def test_what_is_learned_from_is_told_and_how_it_goes(
    small_file: Path, photographs: Path, tmp_path: Path
) -> None:
    changes = ["phase.0.steps=0", "validation.every=1", "data.shrunk=[0.75]"]
    recipe = load_recipe(str(small_file), changes)
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for name, side in (("large", 200), ("good", 150), ("small", 60)):
        Image.fromarray(scene(side, side)).save(mixed / f"{name}.png")
    (mixed / "broken.png").touch()
    (mixed / "camera.HEIC").touch()
    said: list[str] = []
    shown: list[tuple[float, float]] = []
    run_session(
        *(recipe, [mixed], photographs, tmp_path / "deep" / "run", CPU),
        options=Options(half=False, last_step=2),
        resume=False,
        tell=said.append,
        bar=lambda *progress: shown.append(progress),
    )
    assert shown == [(1, 14), (2, 14)]
    about, line = said
    assert about == (
        "training: 2 pictures at 2 sizes, 0.1 megapixels "
        "(1 unreadable (broken.png), 1 too small, 1 of kinds that are not read left out); "
        "validation: 4 pictures, 0.2 megapixels"
    )
    numbers = r"rate 1.0e-03, [\d.]+ steps/s, waiting for data \d+%, [+-]\d+\.\d\d dB over bicubic"
    assert re.fullmatch(rf"step 2/14 phase 2: loss \d.*, l1 0\.\d{{4}}.*, {numbers}", line)


def test_the_first_of_several_processes_alone_speaks_and_holds_the_folder(
    small: Recipe, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Processes, "main", property(lambda _: False))
    folder = tmp_path / "run"
    folder.mkdir()
    with claimed(folder):
        ended = run_session(
            *(small, [photographs], photographs, folder, CPU),
            options=Options(half=False, last_step=1),
            resume=False,
            tell=lambda _: pytest.fail("spoke"),
            bar=lambda *_: pytest.fail("showed its progress"),
        )
    assert ended == ""
    assert [path.name for path in folder.iterdir()] == ["others"]
    assert checkpoint.latest(folder / "others" / "0-stable") is not None


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_second_signal_is_what_it_was_before_and_an_ignored_one_stays_ignored() -> None:
    came: list[int] = []

    def usual(number: int, _: object) -> None:
        came.append(number)

    kept = [(s, signal.getsignal(s)) for s in (signal.SIGTERM, signal.SIGHUP)]
    signal.signal(signal.SIGTERM, usual)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        for twice in (True, False):
            run = SimpleNamespace(stopping=False)
            with _stopping_cleanly(cast("Trainer", run)):
                assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
                signal.raise_signal(signal.SIGTERM)
                assert run.stopping and came == ([] if twice else [signal.SIGTERM])
                if twice:
                    signal.raise_signal(signal.SIGTERM)
            assert came == [signal.SIGTERM]
        with _stopping_cleanly(cast("Trainer", SimpleNamespace(stopping=False))):
            pass
        assert signal.getsignal(signal.SIGTERM) is usual
    finally:
        for number, handler in kept:
            signal.signal(number, handler)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_beside_a_gpu_few_threads_are_left_to_the_processor() -> None:
    torch.set_num_threads(HOST_THREADS + 2)
    spare_threads(torch.device("cpu"))
    assert torch.get_num_threads() == HOST_THREADS + 2
    spare_threads(torch.device("cuda"))
    assert torch.get_num_threads() == HOST_THREADS
    torch.set_num_threads(1)
    spare_threads(torch.device("cuda"))
    assert torch.get_num_threads() == 1  # as was asked for


def session(
    recipe: Recipe, photographs: Path, folder: Path, *, resume: bool, val: Path | None = None
) -> list[str]:
    """What a session of no steps says."""
    said: list[str] = []
    run_session(
        *(recipe, [photographs], val, folder, CPU),
        options=Options(half=False, last_step=0),
        resume=resume,
        tell=said.append,
        bar=lambda *_: None,
    )
    return said


def test_a_run_keeps_its_recipe_and_tells_what_has_changed_since(
    small_file: Path, photographs: Path, tmp_path: Path
) -> None:
    begun = load_recipe(str(small_file), ["phase.0.batch=2", "loss.features_folder=here"])
    session(begun, photographs, tmp_path / "run", resume=False)
    assert load_recipe(str(tmp_path / "run" / RECORD)) == begun

    again = session(begun, photographs, tmp_path / "run", resume=True)
    assert not any("changed" in line for line in again)

    now = load_recipe(str(small_file), ["loss.features_folder=here", "phase.2.iterations=2"])
    changed = session(now, photographs, tmp_path / "run", resume=True)
    assert "the recipe has changed: phase.0.batch = 4, was 2" in changed
    assert "the recipe has changed: phase.2.iterations = 2, was 3" in changed
    assert sum("changed" in line for line in changed) == 2
    assert load_recipe(str(tmp_path / "run" / RECORD)) == now


def test_a_record_that_is_no_recipe_hinders_nothing(
    small: Recipe, photographs: Path, tmp_path: Path
) -> None:
    session(small, photographs, tmp_path, resume=False)
    (tmp_path / RECORD).write_text("network = 3")
    assert not any("changed" in s for s in session(small, photographs, tmp_path, resume=True))
    (tmp_path / RECORD).unlink()
    (tmp_path / RECORD).mkdir()
    said = session(small, photographs, tmp_path, resume=True)
    assert any(f"{tmp_path / RECORD} could not be written" in line for line in said)


def test_resuming_needs_no_recipe_if_the_folder_keeps_one(
    program: Callable[..., Outcome], small_file: Path, photographs: Path, tmp_path: Path
) -> None:
    run = ("--data", str(photographs), "--out", str(tmp_path / "run"), "--device", "cpu")
    begun = program("train", str(small_file), *run, "--steps", "1", "--set", "phase.0.batch=2")
    assert begun.status == 0, begun.err
    again = program("train", "--resume", *run, "--steps", "2")
    assert again.status == 0 and "resumed at step 1" in again.err, again.err
    assert "changed" not in again.err and "--weights" not in again.err
    weights = ("--weights", tmp_path / "run" / "ema.safetensors")
    third = program("train", "--resume", *run, *weights, "--steps", "3")
    assert third.status == 0, third.err
    assert "--weights is not used: the run goes on from its own state" in third.err
    assert 'name = "small"' in (tmp_path / "run" / RECORD).read_text()


def test_a_recipe_that_goes_on_from_weights_says_so_without_them(
    small_file: Path, photographs: Path, tmp_path: Path
) -> None:
    goes_on = load_recipe(str(small_file), ["start.after=dan-real-x4"])
    begun = session(goes_on, photographs, tmp_path / "run", resume=False)
    assert any("meant to go on from the weights of dan-real-x4" in line for line in begun)
    again = session(goes_on, photographs, tmp_path / "run", resume=True)
    assert not any("meant to go on" in line for line in again)


@pytest.mark.skipif(sys.platform == "win32", reason="folders are not claimed there")
def test_two_runs_do_not_share_a_folder(small: Recipe, photographs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with claimed(folder) as ours:
        assert ours
        with pytest.raises(TrainingError, match=r"Another process is training in .*run. Wait"):
            session(small, photographs, folder, resume=True)
        assert list(folder.iterdir()) == []
    held: list[bool] = []

    def look(_: str) -> None:
        with claimed(folder) as ours:
            held.append(not ours)

    run_session(
        *(small, [photographs], None, folder, CPU),
        options=Options(half=False, last_step=0),
        resume=True,
        tell=look,
        bar=lambda *_: None,
    )
    assert any(held)
    with claimed(folder) as ours:
        assert ours


def test_of_many_names_the_first_are_told() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"


def test_held_out_pictures_that_are_trained_on_are_told(
    small: Recipe, photographs: Path, tmp_path: Path
) -> None:
    (tmp_path / "mixed").mkdir()
    one, *_ = sorted(photographs.iterdir())
    (tmp_path / "mixed" / "another name.png").symlink_to(one)
    Image.fromarray(scene(160, 160)).save(tmp_path / "mixed" / "other.png")
    said = session(small, photographs, tmp_path / "run", resume=False, val=tmp_path / "mixed")
    assert any("1 of the validation's pictures are trained on as well" in line for line in said)


def test_a_run_that_was_never_saved_does_not_forget_its_weights(
    small: Recipe, photographs: Path, tmp_path: Path
) -> None:
    keep_start(tmp_path, {"start": "dan-blur-x4"})
    with pytest.raises(TrainingError, match=r"from the weights dan-blur-x4 .* with --weights"):
        session(small, photographs, tmp_path, resume=True)


def test_a_step_that_does_not_fit_into_memory_is_told(
    small: Recipe, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(words: str) -> None:
        def step(*_: object) -> None:
            raise RuntimeError(words)

        monkeypatch.setattr(Learner, "step", step)
        run_session(
            *(small, [photographs], None, tmp_path / "run", CPU),
            options=Options(half=False),
            resume=True,
            tell=lambda _: None,
            bar=lambda *_: None,
        )

    with pytest.raises(TrainingError, match=r"not enough memory for a step.*accumulate=2"):
        run("CUDA out of memory. Tried to allocate 2.00 GiB")
    with pytest.raises(RuntimeError, match="sizes do not match"):
        run("sizes do not match")


def test_a_folder_that_cannot_be_made_is_told(
    small: Recipe, photographs: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match=r"Cannot write to .*file/run"):
        session(small, photographs, tmp_path / "file" / "run", resume=False)
