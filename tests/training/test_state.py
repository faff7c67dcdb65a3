"""States are whole or not there, small enough to be shared, and resumed to the bit."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sr_cli.networks.dan import DAN
from sr_cli.zoo import weights
from tests.conftest import Outcome
from tests.training.conftest import CPU, SMALL, one_picture
from training import checkpoint, record
from training.corpus import read_corpus
from training.options import Options
from training.recipe import load_recipe
from training.schema import Optimiser, Recipe
from training.trainer import Trainer, TrainingError
from training.unroll import unroll

ASSETS = Path(__file__).parents[1] / "assets"


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    state = {
        "number": 3,
        "nothing": None,
        "list": [1.5, "text", True, torch.arange(3)],
        "optimiser": {"state": {0: {"step": torch.tensor(2.0)}, 11: {}}},
        "empty": torch.zeros(4, 0),
        "last": torch.rand(2, 3).to(memory_format=torch.contiguous_format).T,
    }
    path = checkpoint.write(tmp_path, 7, state)
    assert path == checkpoint.latest(tmp_path)
    found = checkpoint.read(path)
    assert found["list"][:3] == [1.5, "text", True] and found["nothing"] is None
    assert torch.equal(found["list"][3], torch.arange(3))
    assert list(found["optimiser"]["state"]) == [0, 11]
    assert found["optimiser"]["state"][0]["step"] == 2
    assert found["empty"].shape == (4, 0)
    assert torch.equal(found["last"], state["last"])  # type: ignore[arg-type]


def test_no_file_of_a_large_state_exceeds_16_megabytes(tmp_path: Path) -> None:
    large = torch.randint(256, (41_000_001,), dtype=torch.uint8)
    middling = {str(i): torch.rand(1_000_000) for i in range(9)}
    path = checkpoint.write(tmp_path, 1, {"large": large, "middling": middling})
    assert max(file.stat().st_size for file in path.iterdir()) <= 16_000_000
    found = checkpoint.read(path)
    assert torch.equal(found["large"], large)
    assert all(torch.equal(found["middling"][k], v) for k, v in middling.items())


def test_every_file_is_on_the_disk_before_a_state_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []

    def flush(number: int) -> None:
        os.write(number, b"")  # refused to readers, as flushing is on Windows
        assert checkpoint.latest(tmp_path) is None
        flushed.append(os.fstat(number).st_ino)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(checkpoint, "PART_BYTES", 100)
    path = checkpoint.write(tmp_path, 1, {"x": torch.rand(40), "y": torch.rand(3)})
    files = list(path.iterdir())
    assert len(files) == 3 and sorted(flushed) == sorted(file.stat().st_ino for file in files)


def test_a_full_disk_keeps_the_last_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.write(tmp_path, 1, {"x": torch.ones(3)})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for place in ("save_file", "_flush"):
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, place, full)
            with pytest.raises(checkpoint.CheckpointError, match="could not be written"):
                checkpoint.write(tmp_path, 2, {"x": torch.zeros(3)})
    assert [path.name for path in tmp_path.iterdir()] == ["00000001"]
    last = checkpoint.latest(tmp_path)
    assert last is not None and torch.equal(checkpoint.read(last)["x"], torch.ones(3))


def test_a_run_goes_on_over_a_full_disk_and_says_so_at_its_end(
    trainer: Callable[..., Trainer],
    small_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = load_recipe(str(small_file), ["save_minutes=0.0"])
    out = tmp_path / "run"
    trainer(out, recipe, last_step=3).run()
    run = trainer(out, recipe, last_step=6)
    assert run.resume()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    warnings: list[str] = []
    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(TrainingError, match=r"No space left.*step 3 is whole"):
        run.run(warn=warnings.append)
    assert run.step == 6 and len(warnings) == 3 and "Training goes on." in warnings[0]
    monkeypatch.undo()
    again = trainer(out, recipe)
    assert again.resume() and again.step == 3
    # What the run has come to is much smaller, and is there.
    kept, _ = weights.read(out / "ema.safetensors")
    for key, value in run.average.state_dict().items():
        assert torch.equal(kept[key], value), key


def test_a_decay_that_cannot_be_saved_says_which_state_there_is(
    trainer: Callable[..., Trainer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    trainer(out, last_step=15).run()
    run = trainer(out)
    assert run.resume()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(TrainingError, match=r"decay \(.*step 15 is whole"):
        run.run()


def test_weights_that_cannot_be_written_are_told_and_the_state_is_there(
    trainer: Callable[..., Trainer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(weights, "write_exact", full)
    with pytest.raises(TrainingError, match=r"ema\.safetensors could not be written: No space"):
        trainer(tmp_path, last_step=1).run()
    last = checkpoint.latest(tmp_path / "stable")
    assert last is not None and last.name == "00000001"


def test_a_disk_that_has_room_for_nothing_is_told_of_state_and_weights(
    trainer: Callable[..., Trainer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    trainer(out, last_step=3).run()
    run = trainer(out, last_step=6)
    assert run.resume()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint, "save_file", full)
    monkeypatch.setattr(weights, "write_exact", full)
    with pytest.raises(TrainingError, match=r"state of step 6.*step 3 is whole.*ema\.safetensors"):
        run.run()


def test_a_damaged_decay_says_what_the_run_can_go_on_from(
    trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    trainer(tmp_path, last_step=17).run()
    decay = checkpoint.latest(tmp_path / "decay")
    assert decay is not None
    next(decay.glob("*.safetensors")).unlink()
    stable = tmp_path / "stable" / "00000015"
    again = trainer(tmp_path)
    with pytest.raises(TrainingError) as caught:
        again.resume()
    assert str(caught.value).endswith(f". Remove {decay} to go on from {stable}.")
    shutil.rmtree(decay)
    assert again.resume() and again.step == 15
    next(stable.glob("*.safetensors")).unlink()
    with pytest.raises(TrainingError) as caught:
        trainer(tmp_path).resume()
    assert "Remove" not in str(caught.value)


def test_a_state_of_another_network_is_refused_in_a_sentence(
    trainer: Callable[..., Trainer], small_file: Path, tmp_path: Path
) -> None:
    trainer(tmp_path, last_step=3).run()
    other = trainer(tmp_path, load_recipe(str(small_file), ["network.blocks=3"]))
    with pytest.raises(TrainingError) as caught:
        other.resume()
    said = str(caught.value)
    assert len(said) < 400 + len(str(tmp_path)) and ". ." not in said and ".." not in said[:-60]
    assert "Undo the change" in said


@pytest.mark.parametrize(
    ("branched", "decayed", "more", "goes_on"),
    [
        (15, 2, 0, True),
        (15, 4, 0, True),  # it is finished
        (9, 2, 0, True),  # within a time budget; there is more time now
        (9, 4, 0, False),
        (15, 2, 3, False),  # the recipe has been lengthened
        (15, 4, 3, False),
    ],
)
def test_a_decay_gives_way_to_what_is_to_be_done_before_it(
    trainer: Callable[..., Trainer],
    small_file: Path,
    tmp_path: Path,
    branched: int,
    decayed: int,
    more: int,
    goes_on: bool,
) -> None:
    run = trainer(tmp_path)
    position = run.position
    position.phase_index, position.step = (2, branched) if branched == 15 else (1, branched)
    position.phase_step = branched - 5 * position.phase_index
    run._begin_phase(position)
    run.state.save(position, run.totals)
    position.decay()
    for _ in range(decayed):
        position.forward()
    run.state.save(position, run.totals)
    again = trainer(tmp_path, load_recipe(str(small_file), [f"phase.2.steps={5 + more}"]))
    assert again.resume() and again.position.decaying == goes_on
    assert again.step == branched + decayed * goes_on


def test_a_run_goes_on_with_another_truth(
    trainer: Callable[..., Trainer], small_file: Path, tmp_path: Path
) -> None:
    """Of which the pool's pairs know nothing."""
    known = ["phase.0.trains='all'"]
    for number, (before, after) in enumerate(((known, [*known, "loss.vector=0"]),) * 2):
        changes = (before, after) if number else (after, before)
        first, second = (load_recipe(str(small_file), some) for some in changes)
        out = tmp_path / str(number)
        trainer(out, first, last_step=3).run()
        run = trainer(out, second, last_step=5)
        assert run.resume() and run.feeder.pool.pairs is None
        run.run()
        assert run.step == 5


def test_a_share_that_cannot_be_read_is_drawn_anew(
    trainer: Callable[..., Trainer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    before = trainer(out, last_step=3)
    before.run()
    mine = checkpoint.write(
        out / "others" / "1-stable", 3, {"feeder": before.feeder.state(), "more": 0}
    )
    for spoil, has_pool in ((lambda: None, True), (lambda: (mine / "index.json").unlink(), False)):
        spoil()
        run = trainer(out)
        run.processes.index = 1
        assert run.resume() and (run.feeder.pool.pairs is not None) == has_pool
    (mine / "index.json").write_text("{}")
    run = trainer(out)
    run.processes.index = 1
    assert run.resume() and run.feeder.pool.pairs is None
    shutil.rmtree(mine)
    checkpoint.write(mine.parent, 2, {"feeder": before.feeder.state()})  # of another step
    run = trainer(out)
    run.processes.index = 1
    assert run.resume() and run.feeder.pool.pairs is None


def test_a_kill_between_two_renamings_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.write(tmp_path, 5, {"x": torch.ones(1)})
    rename = Path.rename

    def killed(path: Path, target: Path) -> Path:
        if path.suffix == ".partial":
            raise KeyboardInterrupt  # nothing in `write` sees to it, as to a kill
        return rename(path, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "rename", killed)
        checkpoint.write(tmp_path, 5, {"x": torch.zeros(1)})
    last = checkpoint.latest(tmp_path)
    assert last is not None and last.name == "00000005"
    assert checkpoint.read(last)["x"] == 1
    checkpoint.write(tmp_path, 5, {"x": torch.zeros(1)})
    assert [path.name for path in tmp_path.iterdir()] == ["00000005"]
    assert checkpoint.read(tmp_path / "00000005")["x"] == 0


def test_a_kill_before_the_old_state_is_removed_hinders_nothing(tmp_path: Path) -> None:
    path = checkpoint.write(tmp_path, 5, {"x": torch.ones(1)})
    shutil.copytree(path, tmp_path / f"{path.name}{checkpoint.ASIDE}")
    (tmp_path / "00000009").mkdir()  # what is left of a state that was being removed
    assert checkpoint.latest(tmp_path) == path
    checkpoint.write(tmp_path, 5, {"x": torch.zeros(1)})
    assert list(tmp_path.iterdir()) == [path] and checkpoint.read(path)["x"] == 0


def test_a_folder_that_cannot_hold_states_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(checkpoint.CheckpointError, match="step 5 could not be written"):
        checkpoint.write(tmp_path / "file", 5, {"x": torch.ones(1)})
    assert checkpoint.latest(tmp_path / "file") is None


def test_a_run_goes_on_with_another_crop_batch_or_pool(
    trainer: Callable[..., Trainer], small_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    trainer(out, last_step=3).run()
    for number, change in enumerate(
        ["phase.0.lr_crop=32", "phase.0.batch=2", "data.pool=12", "data.reuse=1", "data.batches=2"]
    ):
        shutil.copytree(out, tmp_path / str(number))
        run = trainer(tmp_path / str(number), load_recipe(str(small_file), [change]), last_step=4)
        assert run.resume() and run.step == 3
        run.run()
        pairs = run.feeder.next()
        phase = run.recipe.phase[0]
        assert pairs.lr.shape == (phase.batch, 3, phase.lr_crop, phase.lr_crop), change


def test_one_process_without_its_pool_makes_all_draw_theirs_anew(
    trainer: Callable[..., Trainer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or it would draw more than the others, and their shares be of other batches."""
    trainer(tmp_path, last_step=3).run()
    alone = trainer(tmp_path)
    assert alone.resume() and alone.feeder.pool.pairs is not None
    among = trainer(tmp_path)
    monkeypatch.setattr(among.processes, "any", lambda _: True)  # another one lacks its own
    assert among.resume() and among.feeder.pool.pairs is None
    drawing = (run.feeder.drawing.get_state() for run in (alone, among))
    assert torch.equal(*drawing)


def test_a_run_goes_on_with_other_iterations(
    trainer: Callable[..., Trainer], small_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    before = trainer(out, last_step=12)
    before.run()
    run = trainer(out, load_recipe(str(small_file), ["phase.2.iterations=2"]), last_step=13)
    assert run.resume()
    for network, earlier in ((run.network, before.network), (run.average, before.average)):
        assert isinstance(network, DAN) and isinstance(earlier, DAN)
        assert (network.iterations, earlier.iterations) == (2, 3)
        unroll(earlier, 2)
        for key, value in earlier.state_dict().items():
            assert torch.equal(network.state_dict()[key], value), key
    run.run()


def test_a_run_without_iterations_in_its_phases_goes_on_with_the_networks(
    trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    file = tmp_path / "plain.toml"
    lines = [line for line in SMALL.splitlines() if not line.startswith("iterations")]
    file.write_text("\n".join(lines))
    trainer(tmp_path / "run", load_recipe(str(file)), last_step=3).run()
    run = trainer(tmp_path / "run", load_recipe(str(file), ["network.iterations=2"]), last_step=4)
    assert run.resume()
    assert isinstance(run.network, DAN) and isinstance(run.average, DAN)
    assert run.network.iterations == run.average.iterations == 2
    run.run()


def test_a_phase_that_says_no_iterations_has_the_networks_whether_resumed_or_not(
    trainer: Callable[..., Trainer], small_file: Path, tmp_path: Path
) -> None:
    file = tmp_path / "plain.toml"
    first, _, others = SMALL.partition("iterations = ")
    others = "\n".join(line for line in others.splitlines()[1:] if "iterations" not in line)
    file.write_text(f"{first}iterations = 1\n{others}")
    recipe = load_recipe(str(file))
    assert [phase.iterations for phase in recipe.phase][:2] == [1, None]
    whole = trainer(tmp_path / "whole", recipe, last_step=10)
    whole.run()
    trainer(tmp_path / "parts", recipe, last_step=9).run()
    resumed = trainer(tmp_path / "parts", recipe, last_step=10)
    assert resumed.resume()
    resumed.run()
    assert whole.network.iterations == resumed.network.iterations == 3
    for key, value in whole.network.state_dict().items():
        assert torch.equal(resumed.network.state_dict()[key], value), key


def test_moments_of_half_the_size_still_let_a_run_go_on(
    trainer: Callable[..., Trainer], small_file: Path, tmp_path: Path
) -> None:
    changes = ["optimiser.half_moments=true", "optimiser.muon=0.5"]
    recipe = load_recipe(str(small_file), changes)
    trainer(tmp_path / "run", recipe, last_step=3).run()
    again = trainer(tmp_path / "run", recipe, last_step=5)
    assert again.resume()
    optimiser = again.learner.optimiser
    assert optimiser.muon is not None
    for part, key in ((optimiser.adam, "exp_avg"), (optimiser.muon, "momentum_buffer")):
        moments = next(iter(part.state.values()))
        assert moments[key].dtype == torch.float32 and moments[key].abs().sum() > 0
    again.run()


def test_weights_that_were_calibrated_stay_until_there_are_others(
    trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    file = out / "ema.safetensors"
    trainer(out, last_step=18).run()
    state, header = weights.read(file)
    weights.write_with(file, {k: v + 1 for k, v in state.items()}, header)
    calibrated = file.read_bytes()

    def gone_on(**options: object) -> None:
        run = trainer(out, **options)
        assert run.resume()
        run.run()

    gone_on(last_step=18)
    assert file.read_bytes() == calibrated
    gone_on()  # to its end
    ended = file.read_bytes()
    assert weights.read(file)[1]["step"] == "19" != header["step"]
    file.write_bytes(calibrated)  # of an earlier step than the state
    gone_on()
    assert file.read_bytes() == ended


def test_what_was_measured_on_other_pictures_is_forgotten(
    trainer: Callable[..., Trainer], photographs: Path, small: Recipe, tmp_path: Path
) -> None:
    first = trainer(tmp_path, last_step=10)
    first.run()
    reached = first.totals
    assert reached.psnr_y is not None and reached.best_psnr_y == reached.psnr_y
    same = trainer(tmp_path)
    assert same.resume() and replace(same.totals, seconds=0) == replace(reached, seconds=0)
    assert same.totals.seconds == pytest.approx(reached.seconds, abs=1)
    corpus, how = read_corpus([photographs], 128), Options(half=False)
    for held_out, psnr_y in ((one_picture(192), None), (None, reached.psnr_y)):
        other = Trainer(small, corpus, held_out, tmp_path, CPU, how)
        assert other.resume()
        assert other.totals.psnr_y == other.totals.best_psnr_y == psnr_y
        assert other.totals.seconds == same.totals.seconds


def test_muon_is_resumed_to_the_bit_too(
    trainer: Callable[..., Trainer], small_file: Path, tmp_path: Path
) -> None:
    recipe = load_recipe(str(small_file), ["optimiser.muon=0.5"])
    whole = trainer(tmp_path / "whole", recipe)
    whole.run()
    trainer(tmp_path / "parts", recipe, last_step=13).run()
    part = trainer(tmp_path / "parts", recipe)
    assert part.resume() and part.run()
    for key, value in whole.network.state_dict().items():
        assert torch.equal(part.network.state_dict()[key], value), key
    trainer(tmp_path / "other", load_recipe(str(small_file)), last_step=3).run()
    with pytest.raises(TrainingError, match=r"optimiser\.muon"):
        trainer(tmp_path / "other", recipe).resume()


def test_an_adversary_is_resumed_to_the_bit_too(
    trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    changes = ["network.features=8", "network.blocks=1", "data.pool=4", "phase.0.batch=2"]
    changes += ["phase.0.lr_crop=24", "loss.perceptual=0", "loss.discriminator_features=4"]
    recipe = load_recipe("dan-real-gan-x4", [*changes, "phase.0.steps=6", "validation.crop=96"])
    whole = trainer(tmp_path / "whole", recipe)
    whole.run()
    trainer(tmp_path / "parts", recipe, last_step=3).run()
    part = trainer(tmp_path / "parts", recipe)
    assert part.resume() and part.run()
    assert whole.learner.adversary is not None and part.learner.adversary is not None
    for ours, theirs in (
        (part.network, whole.network),
        (part.learner.adversary.discriminator, whole.learner.adversary.discriminator),
    ):
        state = theirs.state_dict()
        assert all(torch.equal(value, state[key]) for key, value in ours.state_dict().items())
    other = trainer(tmp_path / "parts", replace(recipe, optimiser=Optimiser(beta2=0.5)))
    assert other.resume() and other.learner.adversary is not None
    for optimiser in (other.learner.optimiser.adam, other.learner.adversary.optimiser):
        assert optimiser.state and all(g["betas"] == (0.9, 0.5) for g in optimiser.param_groups)
    with torch.no_grad():
        next(part.learner.adversary.discriminator.parameters()).fill_(float("nan"))
    with pytest.raises(TrainingError, match="Weights are no numbers"):
        part.run()


def test_time_between_the_lines_of_the_log_is_not_lost(
    trainer: Callable[..., Trainer],
    small_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = load_recipe(str(small_file), ["save_minutes=0.0"])
    run = trainer(tmp_path / "run", recipe)
    saved = Trainer._save_or_warn

    def killed(this: Trainer) -> None:
        this.clock.logged -= 60  # as if a minute had passed, and nothing been told since
        saved(this)
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_save_or_warn", killed)
    with pytest.raises(KeyboardInterrupt):
        run.run()
    again = trainer(tmp_path / "run", recipe)
    assert again.resume() and again.step == 1
    assert 60 <= again.totals.seconds < 90


def test_states_that_do_not_fit_are_refused(
    trainer: Callable[..., Trainer], small_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    trainer(out, time_budget=0).run()
    other = load_recipe(str(small_file), ["name='other'"])
    with pytest.raises(TrainingError, match="belongs to the recipe 'small'"):
        trainer(out, other).resume()
    wider = load_recipe(str(small_file), ["network.features=16"])
    with pytest.raises(TrainingError, match=r"does not fit the recipe as it is now: Error.* size"):
        trainer(out, wider).resume()
    record.write(out, load_recipe(str(small_file)))
    with pytest.raises(TrainingError, match=r"now: network\.features = 16, was 8\. Undo the"):
        trainer(out, wider).resume()
    (part,) = (out / "stable").glob("*/part-000.safetensors")
    part.write_bytes(b"nonsense")
    with pytest.raises(TrainingError, match="cannot be read"):
        trainer(out).resume()


TINY = (
    *("network.features=8", "network.blocks=1", "data.pool=8", "phase.0.batch=2"),
    *("phase.0.lr_crop=24", "phase.0.steps=30", "save_minutes=0.0"),
)


def command(out: Path, *more: str) -> list[str]:
    """A whole small run of dan-real-x4 in a process of its own; every step is saved."""
    changes = [part for change in TINY for part in ("--set", change)]
    run = ["-m", "sr_cli", "train", "dan-real-x4", "--data", str(ASSETS), *changes]
    return [sys.executable, *run, "--out", str(out), "--precision", "fp32", *more]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ((), []),
        (("state",), [1]),
        (("state",), {}),
        (("state", "values", "recipe"), None),
        (("state", "values", "position"), 7),
        (("state", "values", "position", "values", "mood"), "good"),
        (("state", "values", "totals", "values", "psnr"), 3.5),
        (("state", "values", "learner", "values", "network"), 1),
        (("state", "values", "feeder"), []),
        (("parts",), {"a": 1}),
        (("shapes",), None),
    ],
)
def test_states_of_another_make_are_refused(
    place: tuple[str, ...], value: object, trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    trainer(out, last_step=2).run()
    index = out / "stable" / "00000002" / checkpoint.INDEX
    document = {"whole": json.loads(index.read_text())}
    *above, last = ("whole", *place)
    inner = document
    for key in above:
        inner = inner[key]
    inner[last] = value
    index.write_text(json.dumps(document["whole"]))
    with pytest.raises(TrainingError, match=r"cannot be read|does not fit|belongs to"):
        trainer(out).resume()


def test_a_run_that_was_killed_ends_with_the_same_weights(
    program: Callable[..., Outcome], tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert program(*command(whole)[3:]).status == 0
    victim = subprocess.Popen(command(killed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    enough = random.Random(time.time_ns()).randint(2, 20)
    print(f"killed at step {enough}")  # a failure shows it
    while (last := checkpoint.latest(killed / "stable")) is None or int(last.name) < enough:
        assert victim.poll() is None, "the run ended before it could be killed"
        time.sleep(0.002)
    victim.send_signal(signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    assert not (killed / "ema.safetensors").exists()
    resumed = program(*command(killed, "--resume")[3:])
    assert resumed.status == 0 and "finished" in resumed.out
    ours, theirs = (load_file(run / "ema.safetensors") for run in (killed, whole))
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_ends_a_run_with_status_0_and_a_saved_state(name: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run = subprocess.Popen(
        command(out, "--set", "phase.0.steps=100000"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # What ignores a signal hands that on, as nohup does.
        preexec_fn=lambda: signal.signal(getattr(signal, name), signal.SIG_DFL),
    )
    while checkpoint.latest(out / "stable") is None:
        assert run.poll() is None
        time.sleep(0.01)
    run.send_signal(getattr(signal, name))
    said, _ = run.communicate(timeout=300)
    assert run.returncode == 0 and "--resume goes on" in said
    assert (out / "ema.safetensors").exists()


def test_an_old_run_is_not_overwritten(program: Callable[..., Outcome], tmp_path: Path) -> None:
    assert program(*command(tmp_path, "--steps", "1")[3:]).status == 0
    again = program(*command(tmp_path, "--steps", "1")[3:])
    assert again.status == 1 and "Add --resume to go on" in again.err
