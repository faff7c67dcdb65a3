"""What scripts may rely on: commands, exit statuses, JSON, sentences instead of tracebacks."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sr_cli import __version__
from sr_cli.inference.torch_backend import torch_engine
from sr_cli.zoo.loading import load
from tests.conftest import Outcome, scene

Program = Callable[..., Outcome]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(scene(30, 41)).save(path)
    return path


def is_one_sentence(text: str) -> bool:
    return "Traceback" not in text and 0 < len(text.strip().splitlines()) <= 2


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["models", "list"], ["models", "show"], ["upscale", "--help"]],
)
def test_what_needs_no_network_never_imports_torch(arguments: list[str]) -> None:
    code = (
        f"import sys; sys.argv = ['sr-cli', *{arguments!r}]\n"
        "from sr_cli.cli.main import run\n"
        "try: run()\n"
        "except SystemExit as leaving: assert not leaving.code, leaving.code\n"
        "heavy = {'torch', 'onnxruntime', 'huggingface_hub', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_interrupted_while_the_commands_are_imported() -> None:
    code = (
        "import os, signal, sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'sr_cli.cli.main': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "from sr_cli.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (130, b"")


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("name", "ignored", "status"),
    [("SIGHUP", False, 129), ("SIGHUP", True, 0), ("SIGINT", True, 0), ("SIGINT", False, 130)],
)
def test_signals_end_the_program_unless_they_are_to_be_ignored(
    name: str, ignored: bool, status: int
) -> None:
    code = (
        "import os, signal, sys\n"
        f"signal.signal(signal.{name}, signal.SIG_{'IGN' if ignored else 'DFL'})\n"
        "class Sending:\n"
        "    def find_spec(self, module, *_):\n"
        f"        if module == 'sr_cli.cli.main': os.kill(os.getpid(), signal.{name})\n"
        "sys.meta_path.insert(0, Sending())\n"
        "sys.argv = ['sr-cli', '--version']\n"
        "from sr_cli.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (status, b"")


@pytest.mark.skipif(sys.platform != "linux", reason="a device of Linux")
@pytest.mark.parametrize("gone", ["full", "closed by its reader"])
def test_results_are_made_and_told_where_nothing_else_can_be(
    photo: Path, tiny_weights: Path, gone: str
) -> None:
    command = [sys.executable, "-m", "sr_cli", "upscale", "missing.png", str(photo), "--json"]
    command += ["-o", str(photo.parent / "out"), "-m", str(tiny_weights)]
    if gone == "full":
        errors = os.open("/dev/full", os.O_WRONLY)
    else:
        reading, errors = os.pipe()
        os.close(reading)
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, check=False)
    finally:
        os.close(errors)
    first, second = map(json.loads, done.stdout.splitlines())
    assert first["error"] == "there is no such file" and second["width"] == 164
    assert done.returncode == 1
    assert (photo.parent / "out" / "photo_x4.png").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="a device of Linux")
def test_a_picture_goes_to_standard_output_where_nothing_can_be_told(
    photo: Path, tiny_weights: Path
) -> None:
    command = [sys.executable, "-m", "sr_cli", "upscale", str(photo), "-o", "-"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*command, "-m", str(tiny_weights)], stdout=subprocess.PIPE, stderr=full, check=True
        )
    assert Image.open(io.BytesIO(done.stdout)).size == (164, 120)


def test_a_width_of_nothing_is_no_width() -> None:
    listing = [sys.executable, "-m", "sr_cli", "models", "list"]
    environment = {**os.environ, "COLUMNS": "0"}
    done = subprocess.run(listing, env=environment, capture_output=True, text=True, check=True)
    assert "dan-real-x4" in done.stdout


def test_the_version(program: Program) -> None:
    assert program("--version").out == f"sr-cli {__version__}\n"


@pytest.mark.parametrize(
    "command", ["upscale", "estimate-degradation", "degrade", "evaluate", "train", "models"]
)
def test_every_command_has_help_with_an_example(program: Program, command: str) -> None:
    outcome = program(command, "--help")
    assert outcome.status == 0
    assert command == "models" or "Example:" in outcome.out


def test_upscale_writes_the_engines_picture_beside_its_input(
    program: Program, photo: Path, tiny_weights: Path
) -> None:
    outcome = program(
        *("upscale", photo, "--model", tiny_weights, "--tile", 16, "--precision", "fp32")
    )
    assert outcome.status == 0, outcome.err
    written = np.asarray(Image.open(photo.with_name("photo_x4.png"))).astype(np.float32) / 255
    rgb = scene(30, 41).astype(np.float32) / 255
    whole = torch_engine(load(str(tiny_weights)).network).upscale(rgb, 0)
    assert written.shape == (120, 164, 3)
    assert np.abs(written - whole.rgb).max() <= 0.51 / 255


def test_upscale_reports_as_json(program: Program, photo: Path, tiny_weights: Path) -> None:
    out = photo.with_name("large.png")
    outcome = program("upscale", photo, "-o", out, "-m", tiny_weights, "--json", "--tile", 16)
    answer = json.loads(outcome.out)
    assert set(answer) == {
        *("input", "output", "model", "width", "height", "scale", "seconds", "device"),
        *("backend", "precision", "tiles", "degradation"),
    }
    assert (answer["width"], answer["height"], answer["scale"]) == (164, 120, 4)
    assert answer["tiles"] == 6 and answer["backend"] == "torch"
    assert len(answer["degradation"]["vector"]) == 42
    assert out.exists()


def test_estimate_gives_the_same_object_as_upscale(
    program: Program, photo: Path, tiny_weights: Path
) -> None:
    upscale = ("upscale", photo, "-m", tiny_weights, "--json", "--precision", "fp32")
    large = json.loads(program(*upscale).out)
    alone = json.loads(program("estimate-degradation", photo, "-m", tiny_weights, "--json").out)
    assert alone["degradation"]["vector"] == pytest.approx(large["degradation"]["vector"], abs=1e-5)
    assert alone["degradation"].keys() == large["degradation"].keys()


def test_what_nobody_sees_does_not_change_the_estimate(
    program: Program, tmp_path: Path, tiny_weights: Path
) -> None:
    rgb = scene(40, 40)
    alpha = np.full((40, 40), 255, np.uint8)
    alpha[:, 25:] = 0
    vectors = []
    for name, hidden in (("black", np.zeros_like(rgb)), ("noise", scene(40, 40, 1))):
        below = np.where(alpha[..., None] > 0, rgb, hidden)
        Image.fromarray(np.dstack((below, alpha))).save(tmp_path / f"{name}.png")
        outcome = program(
            "estimate-degradation", tmp_path / f"{name}.png", "-m", tiny_weights, "--json"
        )
        vectors.append(json.loads(outcome.out)["degradation"]["vector"])
    assert vectors[0] == vectors[1]


def test_a_picture_on_standard_input_is_estimated(
    program: Program, photo: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = json.loads(program("estimate-degradation", photo, "-m", tiny_weights, "--json").out)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(photo.read_bytes())))
    piped = json.loads(program("estimate-degradation", "-", "-m", tiny_weights, "--json").out)
    assert piped["degradation"] == named["degradation"]


def test_a_reader_that_leaves_early_is_no_error_message() -> None:
    command = f"{sys.executable} -m sr_cli models show | head -n 1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == "" and "dan-real-x4" in done.stdout


def test_the_estimate_is_a_table_for_people(program: Program, photo: Path) -> None:
    outcome = program("estimate-degradation", photo)
    assert outcome.status == 0
    for word in ("Second stage", "JPEG", "Noise"):
        assert word in outcome.out


def test_models_are_shown_to_people_and_scripts(program: Program) -> None:
    assert "dan-real-x4 (default)" in program("models", "list").out
    facts = json.loads(program("models", "show", "dan-real-x4", "--json").out)
    assert facts["weights"]["bundled"] == "dan-real-x4.safetensors"
    assert "sha256" in program("models", "show").out


def corrupt(path: Path, kind: str) -> Path | str:
    """A bad input of every kind that a user may meet."""
    file = path / f"{kind}.jpg"
    if kind == "text":
        file.write_text("this is no picture")
    elif kind == "empty":
        file.touch()
    elif kind == "truncated":
        whole = path / "whole.jpg"
        Image.fromarray(scene(64, 64)).save(whole)
        file.write_bytes(whole.read_bytes()[:700])
    elif kind == "zero":
        file = path / "zero.pgm"
        file.write_bytes(b"P5\n0 0\n255\n")
    return file


@pytest.mark.parametrize("kind", ["missing", "text", "empty", "truncated", "zero"])
@pytest.mark.parametrize("command", ["upscale", "estimate-degradation"])
def test_a_bad_picture_is_named_and_the_others_are_done(
    program: Program, photo: Path, tiny_weights: Path, tmp_path: Path, kind: str, command: str
) -> None:
    bad = corrupt(tmp_path, kind)
    outcome = program(command, bad, photo, "-m", tiny_weights, "--json")
    assert outcome.status == 1
    lines: list[dict[str, Any]] = [json.loads(line) for line in outcome.out.splitlines()]
    assert lines[0]["input"] == str(bad) and lines[0]["error"]
    assert "degradation" in lines[1]
    assert is_one_sentence("\n".join(x for x in outcome.err.splitlines() if kind in x))
    assert not list(tmp_path.glob(f"{kind}_x4*"))


def test_a_picture_of_one_pixel_is_enlarged(
    program: Program, tiny_weights: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (1, 1), (200, 10, 30)).save(tmp_path / "one.png")
    assert program("upscale", tmp_path / "one.png", "-m", tiny_weights).status == 0
    assert Image.open(tmp_path / "one_x4.png").size == (4, 4)


def test_an_unknown_model_is_answered_with_near_names(program: Program, photo: Path) -> None:
    outcome = program("upscale", photo, "--model", "dan-reel-x4")
    assert outcome.status == 1
    assert "dan-real-x4" in outcome.err and is_one_sentence(outcome.err)


@pytest.mark.parametrize(
    "arguments",
    [
        ["upscale"],
        ["upscale", "x.png", "--tile", "many"],
        ["upscale", "x.png", "--skip-existing", "--overwrite"],
        ["upscale", "x.png", "--format", "docx"],
        ["upscale", "x.png", "--wrong-flag"],
        ["evaluate", "--data", ".", "--protocol", "none"],
        ["train", "--time-budget", "soon"],
        ["train", "--time-budget", ""],
        ["train", "dan-real-x4-budget", "--finish"],
        ["train", "dan-real-x4-cpu", "--precision", "int8"],
        ["train", "dan-real-x4-cpu", "--finish", "--time-budget", "1h"],  # it has no decay
    ],
)
def test_a_misused_command_line_ends_with_2(program: Program, arguments: list[str]) -> None:
    outcome = program(*arguments)
    assert outcome.status == 2
    assert "Traceback" not in outcome.err


def test_existing_outputs_are_kept_unless_told_otherwise(
    program: Program, photo: Path, tiny_weights: Path
) -> None:
    out = photo.with_name("photo_x4.png")
    out.write_text("precious")
    refused = program("upscale", photo, "-m", tiny_weights)
    assert refused.status == 1 and "--overwrite" in refused.err
    assert out.read_text() == "precious"
    assert program("upscale", photo, "-m", tiny_weights, "--overwrite").status == 0
    assert Image.open(out).size == (164, 120)


def test_a_corrupt_weights_file_is_named(program: Program, photo: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"\x10\0\0\0\0\0\0\0nonsense")
    outcome = program("upscale", photo, "-m", broken)
    assert outcome.status == 1
    assert "broken.safetensors" in outcome.err and is_one_sentence(outcome.err)


def test_an_output_folder_that_cannot_be_made_is_one_sentence(
    program: Program, photo: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    outcome = program("upscale", photo, "-m", tiny_weights, "-o", tmp_path / "file" / "out.png")
    assert outcome.status == 1
    assert "photo.png" in outcome.err and "Traceback" not in outcome.err


def test_degrade_is_repeatable_and_its_json_can_be_replayed(
    program: Program, tmp_path: Path
) -> None:
    Image.fromarray(scene(120, 140)).save(tmp_path / "sharp.png")
    for folder in ("a", "b"):
        assert program("degrade", tmp_path / "sharp.png", "-o", tmp_path / folder).status == 0
    first = np.asarray(Image.open(tmp_path / "a" / "sharp.png"))
    assert first.shape == (30, 35, 3)
    assert (first == np.asarray(Image.open(tmp_path / "b" / "sharp.png"))).all()
    theta = tmp_path / "a" / "sharp.json"
    assert json.loads(theta.read_text())["seed"] == 0
    program("degrade", tmp_path / "sharp.png", "-o", tmp_path / "c", "--degradation", theta)
    again = json.loads((tmp_path / "c" / "sharp.json").read_text())["vector"]
    assert again == pytest.approx(json.loads(theta.read_text())["vector"], abs=1e-5)


def test_degrade_goes_into_folders_and_tells_what_was_left_out(
    program: Program, tmp_path: Path, tiny_weights: Path
) -> None:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    frames = [Image.fromarray(scene(96, 100, seed)) for seed in range(3)]
    frames[0].save(tmp_path / "in" / "sub" / "a.gif", save_all=True, append_images=frames[1:])
    run = ("degrade", tmp_path / "in", "-o", tmp_path / "bad")
    assert "--recursive looks into" in program(*run).err
    done = program(*run, "--recursive")
    assert done.status == 0 and "only the first of 3 frames was read" in done.err
    assert sorted(path.name for path in (tmp_path / "bad" / "sub").iterdir()) == ["a.json", "a.png"]
    estimate = ("estimate-degradation", tmp_path / "in" / "sub" / "a.gif", "-m", tiny_weights)
    told = program(*estimate)
    assert told.status == 0 and "only the first of 3 frames was read" in told.err


def test_an_estimate_can_be_replayed_on_another_picture(
    program: Program, photo: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    estimate = tmp_path / "theta.json"
    estimate.write_text(program("estimate-degradation", photo, "-m", tiny_weights, "--json").out)
    Image.fromarray(scene(120, 140)).save(tmp_path / "sharp.png")
    outcome = program(
        "degrade", tmp_path / "sharp.png", "-o", tmp_path / "bad", "--degradation", estimate
    )
    assert outcome.status == 0, outcome.err
    estimate.write_text("[1, 2]")
    outcome = program(
        "degrade", tmp_path / "sharp.png", "-o", tmp_path / "worse", "--degradation", estimate
    )
    assert outcome.status == 1 and is_one_sentence(outcome.err)


def test_evaluate_prints_bicubic_beside_the_model(
    program: Program, photographs: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.csv"
    shown = program(
        *("evaluate", "--data", photographs, "-m", tiny_weights, "--skill"),
        *("--per-image", rows, "--save-images", tmp_path / "saved"),
    )
    for method, width in (("input", 55), ("bicubic", 220), ("tiny", 220)):
        saved = sorted((tmp_path / "saved" / method).iterdir())
        assert [path.name for path in saved] == ["0.png", "1.png", "2.png", "3.png"]
        assert Image.open(saved[0]).width == width
    assert shown.status == 0, shown.err
    assert "bicubic" in shown.out and "tiny" in shown.out and "stage2.jpeg_quality" in shown.out
    assert len(rows.read_text().splitlines()) == 1 + 2 * 4
    answer = json.loads(
        program("evaluate", "--data", photographs, "-m", tiny_weights, "--json").out
    )
    # Random weights are worse than interpolation; anything else would be a mistake in measuring.
    methods = answer["methods"]
    assert methods[str(tiny_weights)]["psnr_y"] < methods["bicubic"]["psnr_y"]
    assert len(answer["skill"][str(tiny_weights)]) == 42


def test_train_without_data_says_what_to_do(program: Program) -> None:
    outcome = program("train")
    assert outcome.status == 1
    assert "--data" in outcome.err


def test_train_from_the_command_line_and_resume(
    program: Program, photographs: Path, tmp_path: Path
) -> None:
    short = [
        *("--set", "network.features=8", "--set", "network.blocks=1", "--set", "decay_steps=1"),
        *("--set", "data.pool=4", "--set", "validation.crop=128"),
    ]
    for number in range(3):
        short += ["--set", f"phase.{number}.steps=2", "--set", f"phase.{number}.batch=2"]
        short += ["--set", f"phase.{number}.lr_crop=24"]
    run = ["train", "dan-real-x4-cpu", "--data", photographs, "--val", photographs, *short]
    run += ["--out", tmp_path / "run", "--device", "cpu"]
    stopped = program(*run, "--time-budget", "0s")
    assert stopped.status == 0, stopped.err
    assert "--resume" in stopped.out
    again = program(*run)
    assert again.status == 1 and "--resume" in again.err
    finished = program(*run, "--resume")
    assert finished.status == 0, finished.err
    assert (tmp_path / "run" / "ema.safetensors").exists()


def test_recipes_are_listed(program: Program) -> None:
    assert "dan-real-x4-cpu" in program("train", "--list").out


def test_estimates_are_drawn(program: Program, photo: Path, tmp_path: Path) -> None:
    plot = tmp_path / "plot.png"
    outcome = program("estimate-degradation", photo, photo, "--plot", plot)
    assert outcome.status == 0, outcome.err
    with Image.open(plot) as drawn:
        assert drawn.width > 500 and len(np.unique(np.asarray(drawn))) > 20
    odd = tmp_path / os.fsdecode(b"odd\xff.png")
    try:
        odd.write_bytes(photo.read_bytes())
    except OSError:
        pass  # a file system of UTF-8 names alone
    else:
        outcome = program("estimate-degradation", odd, "--plot", tmp_path / "odd.png")
        assert outcome.status == 0 and (tmp_path / "odd.png").is_file()
    wrong = program("estimate-degradation", photo, "--plot", tmp_path / "plot.docx")
    assert wrong.status == 1 and len(wrong.err.splitlines()) == 1


def test_files_taken_for_options_are_told_how_to_be_named(
    program: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(scene(16, 16)).save("-dash.png")
    told = "There is a file -dash.png: name it ./-dash.png"
    outcome = program("upscale", "-dash.png")
    assert outcome.status == 2 and told in outcome.err
    assert "There is a file" not in program("upscale", "-other.png").err
    missing = program("upscale", "./-dash.png", "-m", "missing.safetensors")
    assert missing.status == 1 and "There is a file" not in missing.err
