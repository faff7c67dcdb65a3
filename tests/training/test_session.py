"""What a session sees to before it trains."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from sr_cli.temporary import claimed
from tests.conftest import Outcome
from tests.training.conftest import CPU
from training.options import Options
from training.recipe import load_recipe
from training.record import RECORD
from training.schema import Recipe
from training.session import HOST_THREADS, run_session, spare_threads
from training.trainer import TrainingError


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


def session(recipe: Recipe, photographs: Path, folder: Path, *, resume: bool) -> list[str]:
    """What a session of no steps says."""
    said: list[str] = []
    run_session(
        *(recipe, [photographs], None, folder, CPU),
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
    assert "changed" not in again.err
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


def test_a_folder_that_cannot_be_made_is_told(
    small: Recipe, photographs: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match=r"Cannot write to .*file/run"):
        session(small, photographs, tmp_path / "file" / "run", resume=False)
