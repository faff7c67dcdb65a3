"""`sr-cli evaluate` where a model fails, where something ends it, and at a terminal."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sr_cli import opening
from sr_cli.degradation.bicubic import imresize
from sr_cli.inference.engine import Engine, Result
from sr_cli.inference.errors import InferenceError
from sr_cli.metrics import evaluation
from sr_cli.metrics.squeezenet import FEATURES_FILE, HEADS_FILE
from sr_cli.networks.dan import DAN
from sr_cli.zoo import weights
from tests.conftest import TINY, Outcome, all_shown
from tests.metrics.made import make_features, save

Program = Callable[..., Outcome]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three small pictures, of which the last is wider."""
    for number in range(3):
        save(tmp_path / "pictures" / f"{number}.png", 96, 124 if number == 2 else 108, number)
    return tmp_path / "pictures"


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A network that gives no numbers, whatever the picture."""
    network = DAN(**TINY)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(torch.nan)
    path = tmp_path / "broken.safetensors"
    weights.write(path, network.state_dict(), "DAN", TINY)
    return path


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A second network that can do its work."""
    torch.manual_seed(1)
    path = tmp_path / "other.safetensors"
    weights.write(path, DAN(**TINY).state_dict(), "DAN", TINY)
    return path


@pytest.fixture
def choosy(monkeypatch: pytest.MonkeyPatch, other: Path) -> Path:
    """The second network, as one that fails on wide pictures."""
    right = Engine.upscale

    def upscale(self: Engine, rgb: Any, **options: Any) -> Result:
        if self.backend.model == str(other) and rgb.shape[1] > 27:  # type: ignore[attr-defined]
            raise InferenceError("there is no room")
        return right(self, rgb, **options)

    monkeypatch.setattr(Engine, "upscale", upscale)
    return other


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_case_that_a_model_fails_on_is_in_nobodys_means(
    program: Program, data: Path, tiny_weights: Path, choosy: Path, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.csv"
    run = ("evaluate", "-m", tiny_weights, "-m", choosy, "--data", data, "--json")
    outcome = program(*run, "--per-image", rows)
    assert outcome.status == 1
    assert outcome.err.splitlines() == [f"2.png, {choosy}: there is no room"]
    found = json.loads(outcome.out)
    assert found["cases"] == 2 and found["failed"] == ["2.png"]
    assert found["failed_by"] == {str(choosy): ["2.png"]}
    assert found["pictures"].keys() == {"0.png", "1.png"}
    (data / "2.png").unlink()
    fewer = json.loads(program(*run).out)
    assert fewer["failed"] == [] and "failed_by" not in fewer
    for key in ("methods", "gains", "over_first", "skill", "pictures"):
        assert found[key] == fewer[key]
    # What the others reached there is in the file all the same, and where nothing was reached.
    last = {row["method"]: row["psnr_y"] for row in rows_of(rows) if row["picture"] == "2.png"}
    assert list(last) == ["bicubic", str(tiny_weights), str(choosy)]
    assert [bool(figure) for figure in last.values()] == [True, True, False]


def test_nobody_waits_for_a_model_that_fails_on_everything(
    program: Program, data: Path, tiny_weights: Path, broken: Path
) -> None:
    run = ("evaluate", "-m", tiny_weights, "--data", data, "--json")
    outcome = program(*run, "-m", broken)
    assert outcome.status == 1
    told = outcome.err.splitlines()
    assert [line.split(": ")[0] for line in told] == ["0.png", "1.png", "2.png"]
    assert all(f"{broken} gives numbers that are not finite" in line for line in told)
    found, alone = (json.loads(one.out) for one in (outcome, program(*run)))
    names = ["0.png", "1.png", "2.png"]
    assert (found.pop("failed"), found.pop("failed_by")) == (names, {str(broken): names})
    assert alone.pop("failed") == []
    assert found.pop("weights").keys() == {str(tiny_weights), str(broken)}
    del alone["weights"]
    assert found == alone and found["cases"] == 3


def test_without_any_model_that_works_nothing_is_measured(
    program: Program, data: Path, broken: Path
) -> None:
    run = ("evaluate", "-m", broken, "--data", data, "--estimate-only")
    outcome = program(*run, "--json")
    assert outcome.status == 1 and str(broken) in outcome.err
    found = json.loads(outcome.out)
    assert found["cases"] == 0 and found["skill"] == {} and len(found["failed"]) == 3
    assert program(*run).out == ""


def test_which_of_several_methods_failed_is_told(
    program: Program, data: Path, broken: Path
) -> None:
    for name in ("1.png", "2.png"):
        (data / name).unlink()
    run = ("evaluate", "-m", broken, "--data", data, "--iterations", "1,2")
    told = program(*run).err.splitlines()
    assert [line.split(": ")[0] for line in told] == [f"0.png, {broken} T={n}" for n in (1, 2)]
    assert all(f": {broken} gives numbers that are not finite" in line for line in told)


def ended_at(number: int, monkeypatch: pytest.MonkeyPatch, end: BaseException) -> None:
    """Lets something end the program when bicubic interpolation has a picture for the nth time."""
    seen = []

    def resize(lr: torch.Tensor, scale: int) -> torch.Tensor:
        seen.append(lr)
        if len(seen) == number:
            raise end
        return imresize(lr, scale)

    monkeypatch.setattr(evaluation, "imresize", resize)


@pytest.mark.parametrize("end", [SystemExit(130), RuntimeError("a bug")])
def test_what_was_measured_is_kept_when_something_ends_the_work(
    program: Program,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    end: BaseException,
) -> None:
    rows = tmp_path / "rows.csv"
    run = ("evaluate", "-m", "bicubic", "--data", data, "--scale", 4, "--per-image", rows)
    ended_at(3, monkeypatch, end)
    outcome = program(*run)
    assert outcome.status == (130 if isinstance(end, SystemExit) else 1)
    assert [row["picture"] for row in rows_of(rows)] == ["0.png", "1.png"]
    ended_at(1, monkeypatch, end)
    rows.unlink()
    program(*run)
    assert not rows.exists()  # which would be in the way of the next try


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_what_was_measured_is_kept_where_standard_output_is_full(
    data: Path, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.csv"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "sr_cli", "evaluate", "-m", "bicubic", "--data", data),
                *("--scale", "4", "--json", "--per-image", rows),
            ],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "sr-cli: No space left on device.\n"
    assert len(rows_of(rows)) == 3


def test_a_csv_that_cannot_be_written_does_not_hide_what_ended_the_work(
    program: Program, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = tmp_path / "rows.csv"
    ended_at(3, monkeypatch, SystemExit(130))
    monkeypatch.setattr("sr_cli.cli.side_outputs.write", lambda *_, **__: os.listdir(rows))  # noqa: PTH208
    run = ("evaluate", "-m", "bicubic", "--data", data, "--scale", 4, "--per-image", rows)
    outcome = program(*run)
    assert outcome.status == 130 and "No such file" in outcome.err


def test_half_precision_on_a_cpu_is_refused_as_elsewhere(
    program: Program, data: Path, tiny_weights: Path
) -> None:
    outcome = program("evaluate", "-m", tiny_weights, "--data", data, "--precision", "fp16")
    assert outcome.status == 1 and outcome.out == ""
    assert outcome.err == "sr-cli: fp16 is slow on CPUs; use --precision bf16 or fp32.\n"


def test_an_onnx_file_gets_the_device_as_it_was_named(
    program: Program, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def named(name: str, device: str) -> None:
        raise InferenceError(f"{name} on {device}")

    monkeypatch.setattr(opening, "open_model", named)
    run = ("evaluate", "-m", "model.onnx", "--data", data)
    assert program(*run).err == "sr-cli: model.onnx on auto\n"
    assert program(*run, "--device", "cpu").err == "sr-cli: model.onnx on cpu\n"


def test_features_of_another_network_are_one_sentence(
    program: Program, data: Path, tmp_path: Path
) -> None:
    make_features(tmp_path)
    shutil.copyfile(tmp_path / HEADS_FILE, tmp_path / FEATURES_FILE)
    outcome = program("evaluate", "-m", "bicubic", "--data", data, "--features", tmp_path)
    assert outcome.status == 1 and len(outcome.err.splitlines()) == 1
    assert "features.0.weight is missing" in outcome.err and "internal" not in outcome.err


def at_a_terminal(*arguments: object, stdout: Any = None) -> bytes:
    """What the program shows: on standard error and, if that goes nowhere else, standard output."""
    import termios

    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 200))
    process = subprocess.Popen(
        [sys.executable, "-m", "sr_cli", *map(str, arguments)],
        stdout=theirs if stdout is None else stdout,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "OMP_NUM_THREADS": "1"},
    )
    os.close(theirs)
    shown = all_shown(ours)
    assert process.wait(60) == 0, shown
    return shown


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_at_a_terminal_results_go_where_they_are_sent(data: Path, tmp_path: Path) -> None:
    run = ("evaluate", "-m", "bicubic", "--data", data, "--scale", 4, "--json")
    with (tmp_path / "out.json").open("wb") as file:
        shown = at_a_terminal(*run, stdout=file)
    assert json.loads((tmp_path / "out.json").read_text())["cases"] == 3
    assert b"real" in shown and b"%" in shown and b"{" not in shown
    # With both on the terminal, the bar's line is cleared before.
    shown = at_a_terminal(*run)
    before, _, answer = shown.partition(b"{")
    assert before.endswith(b"\x1b[2K") and json.loads(b"{" + answer.splitlines()[0])["cases"] == 3
