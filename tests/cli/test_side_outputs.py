"""Reports, plots and JSON beside the results: whole, and never in place of a picture."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sr_cli import images
from sr_cli.cli import console, side_outputs
from sr_cli.degradation.two_stage import SMALLEST_SIDE
from sr_cli.images import DiskFullError
from tests.conftest import Outcome, scene

Program = Callable[..., Outcome]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(scene(100, 104)).save(path)
    return path


def side_output(command: str, photo: Path, weights: Path, path: Path) -> list[object]:
    """A command whose further file is to lie at a path."""
    if command == "upscale":
        result = path.with_name("result.png")
        return ["upscale", photo, "-m", weights, "-o", result, "--report", path]
    return ["estimate-degradation", photo, "-m", weights, "--plot", path]


COMMANDS = [("upscale", "page.html"), ("estimate-degradation", "plot.svg")]


@pytest.mark.parametrize(("command", "name"), COMMANDS)
def test_a_file_that_is_there_is_kept_unless_told_otherwise(
    program: Program, photo: Path, tiny_weights: Path, tmp_path: Path, command: str, name: str
) -> None:
    there = tmp_path / name
    there.write_text("a diary")
    arguments = side_output(command, photo, tiny_weights, there)
    kept = program(*arguments)
    assert kept.status == 1 and "--overwrite" in kept.err and kept.out == ""
    assert there.read_text() == "a diary"
    assert program(*arguments, "--overwrite").status == 0
    assert "<" in there.read_text() and "diary" not in there.read_text()


@pytest.mark.parametrize(("command", "name"), COMMANDS)
def test_a_file_that_appears_meanwhile_is_kept_unless_told_otherwise(
    program: Program,
    photo: Path,
    tiny_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    name: str,
) -> None:
    there = tmp_path / name
    arguments = side_output(command, photo, tiny_weights, there)
    checked = side_outputs.check

    def check_and_wait(path: Path, **how: Any) -> None:
        checked(path, **how)
        there.write_text("a diary")

    monkeypatch.setattr(side_outputs, "check", check_and_wait)
    kept = program(*arguments)
    assert kept.status == 1 and "has appeared meanwhile" in kept.err and str(there) in kept.err
    assert there.read_text() == "a diary"
    assert program(*arguments, "--overwrite").status == 0
    assert "diary" not in there.read_text()


@pytest.mark.parametrize(("command", "name"), COMMANDS)
def test_a_picture_is_never_replaced(
    program: Program, photo: Path, tiny_weights: Path, tmp_path: Path, command: str, name: str
) -> None:
    before = photo.read_bytes()
    refused = program(*side_output(command, photo, tiny_weights, photo), "--overwrite")
    assert refused.status == 1 and "one of the pictures" in refused.err
    assert photo.read_bytes() == before


def test_a_report_is_not_the_result(
    program: Program, photo: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    result = tmp_path / "result.png"
    arguments = ["upscale", photo, "-m", tiny_weights, "-o", result, "--report", result]
    refused = program(*arguments)
    assert refused.status == 1 and "one of the pictures" in refused.err
    assert not result.exists()


@pytest.mark.parametrize(("command", "name"), COMMANDS)
def test_what_cannot_be_written_is_said_before_the_work(
    program: Program, photo: Path, tiny_weights: Path, tmp_path: Path, command: str, name: str
) -> None:
    refused = program(*side_output(command, photo, tiny_weights, tmp_path))
    assert refused.status == 1 and "is a folder" in refused.err and refused.out == ""
    below_a_file = program(*side_output(command, photo, tiny_weights, photo / name))
    assert below_a_file.status == 1 and "may not be written to" in below_a_file.err
    assert below_a_file.out == ""


@pytest.mark.parametrize(("command", "name"), COMMANDS)
def test_standard_output_takes_no_further_file(
    program: Program,
    photo: Path,
    tiny_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    name: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    option = "--report" if command == "upscale" else "--plot"
    refused = program(command, photo, "-m", tiny_weights, option, "-", "--overwrite")
    assert (refused.status, refused.out) == (1, "")
    said = "This goes to a file, not to standard output; name one instead of -."
    assert refused.err == f"sr-cli: {said}\n"
    assert list(tmp_path.iterdir()) == [photo]


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_a_file_that_may_be_run_is_no_folder(photo: Path) -> None:
    photo.chmod(0o755)
    with pytest.raises(console.CommandError, match="may not be written to"):
        side_outputs.check(photo / "page.html", overwrite=False)


def test_missing_folders_are_made(
    program: Program, photo: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    plot = tmp_path / "new" / "folder" / "plot.png"
    assert program(*side_output("estimate-degradation", photo, tiny_weights, plot)).status == 0
    with Image.open(plot) as drawn:
        assert drawn.format == "PNG"


def test_there_is_no_plot_of_nothing(
    program: Program, photo: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    photo.write_bytes(b"")
    outcome = program(*side_output("estimate-degradation", photo, tiny_weights, tmp_path / "a.svg"))
    assert outcome.status == 1 and outcome.err == f"{photo}: the file is empty\n"
    assert not (tmp_path / "a.svg").exists()


def test_names_are_drawn_as_they_are_written(
    program: Program, photo: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    odd = photo.rename(tmp_path / r"$\frac$ 日本.png")
    plot = tmp_path / "plot.svg"
    outcome = program(*side_output("estimate-degradation", odd, tiny_weights, plot))
    assert outcome.status == 0 and outcome.err == ""


def test_degrade_keeps_a_json_that_is_there(program: Program, photo: Path, tmp_path: Path) -> None:
    facts = tmp_path / "bad" / "photo.json"
    facts.parent.mkdir()
    facts.write_text('{"taken": "1999"}')
    kept = program("degrade", photo, "-o", facts.parent)
    assert kept.status == 1 and "photo.json exists already" in kept.err
    assert facts.read_text() == '{"taken": "1999"}'
    assert not facts.with_suffix(".png").exists()
    assert program("degrade", photo, "-o", facts.parent, "--overwrite").status == 0
    assert len(json.loads(facts.read_text())["vector"]) == 42


def test_degrade_takes_no_results_of_its_own(program: Program, photo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    photo.rename(folder / "photo.png")
    again = ("degrade", folder, "-o", folder / "bad", "--recursive")
    assert program(*again).status == 0
    (folder / "bad" / ".sr-cli-aaaaaaaaaaaaaaaa.partial").write_bytes(b"of a killed run")
    second = program(*again)
    assert second.status == 1 and "photo.png exists already" in second.err
    assert "1 left out as results of other pictures here" in second.err
    made = sorted(one.name for one in (folder / "bad").iterdir())
    assert made == ["photo.json", "photo.png"]
    # What lies where its own result would go is no result, and is refused as ever.
    itself = program("degrade", folder / "bad", "-o", folder / "bad")
    assert itself.status == 1 and "is one of the pictures" in itself.err
    # Where pictures of equal names come together, their results are still known.
    shutil.rmtree(folder / "bad")
    (folder / "photo.png").rename(folder / "a.png")
    Image.open(folder / "a.png").save(folder / "a.jpg")
    for way in (1, 2):
        done = program("degrade", folder, "-o", folder / "both", "--recursive", "--overwrite")
        assert done.status == 0, (way, done.err)
    both = sorted(str(one.relative_to(folder / "both")) for one in (folder / "both").rglob("*.png"))
    assert both == ["a_jpg.png", "a_png.png"]


def test_degrade_goes_on_after_what_cannot_be_written(
    program: Program, photo: Path, tmp_path: Path
) -> None:
    other = tmp_path / "zebra.png"
    other.write_bytes(photo.read_bytes())
    (tmp_path / "bad" / "photo.json").mkdir(parents=True)
    outcome = program("degrade", photo, other, "-o", tmp_path / "bad", "--overwrite")
    assert outcome.status == 1 and "photo.json is a folder" in outcome.err
    assert not (tmp_path / "bad" / "photo.png").exists()
    assert (tmp_path / "bad" / "zebra.json").is_file()


def test_degrade_writes_no_picture_without_what_was_done_to_it(
    program: Program, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = tmp_path / "bad" / "photo.json"
    right = images.write

    def slow(*arguments: Any, **how: Any) -> None:
        right(*arguments, **how)
        facts.write_text("a diary")

    monkeypatch.setattr(images, "write", slow)
    outcome = program("degrade", photo, "-o", facts.parent)
    assert outcome.status == 1 and "nothing was written" in outcome.err
    assert [path.name for path in facts.parent.iterdir()] == [facts.name]
    assert facts.read_text() == "a diary"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('{"vector": [0]}\n{"vector": [0]}\n', "2 estimates"),
        ('{"layout": "blur", "vector": [0, 0]}', "'blur'"),
        (json.dumps({"vector": ["1"] * 42}), "no degradation vector"),
        (json.dumps({"degradation": {"layout": None, "vector": [0] * 42}}), "no degradation"),
        (json.dumps({"degradation": {"vector": [0] * 41}}), "no degradation vector"),
        ('{"vector": [' + ", ".join(["NaN"] * 42) + "]}", "no degradation vector"),
        (json.dumps({"vector": [10**400] * 42}), "no degradation vector"),
    ],
)
def test_what_cannot_be_replayed_is_told_apart(
    program: Program, photo: Path, tmp_path: Path, content: str, complaint: str
) -> None:
    facts = tmp_path / "theta.json"
    facts.write_text(content)
    refused = program("degrade", photo, "-o", tmp_path / "bad", "--degradation", facts)
    assert refused.status == 1 and complaint in refused.err
    assert len(refused.err.strip().splitlines()) == 1


def test_degrade_without_the_file_to_be_replayed_is_one_sentence(
    program: Program, photo: Path, tmp_path: Path
) -> None:
    missing = tmp_path / "none.json"
    refused = program("degrade", photo, "-o", tmp_path / "bad", "--degradation", missing)
    assert (refused.status, refused.err) == (
        1,
        f"sr-cli: Cannot read {missing}: {os.strerror(errno.ENOENT)}.\n",
    )


def test_degrade_names_what_is_too_small_and_cuts_what_does_not_divide(
    program: Program, tmp_path: Path
) -> None:
    for width in (SMALLEST_SIDE - 1, SMALLEST_SIDE, SMALLEST_SIDE + 3):
        Image.fromarray(scene(90, width)).save(tmp_path / f"{width}.png")
    outcome = program("degrade", tmp_path, "-o", tmp_path / "bad")
    assert outcome.status == 1
    small = tmp_path / f"{SMALLEST_SIDE - 1}.png"
    assert outcome.err == f"{small}: its sides must be at least {SMALLEST_SIDE} pixels\n"
    sizes = [Image.open(path).size for path in sorted((tmp_path / "bad").glob("*.png"))]
    assert sizes == [(SMALLEST_SIDE // 4, 22)] * 2


def test_degrade_writes_into_a_folder_of_any_name(
    program: Program, photo: Path, tmp_path: Path
) -> None:
    assert program("degrade", photo, "-o", tmp_path / "bad.jpg").status == 0
    assert sorted(one.name for one in (tmp_path / "bad.jpg").iterdir()) == [
        "photo.json",
        "photo.png",
    ]
    assert program("degrade", photo, "-o", photo).status == 2


def test_degrade_never_replaces_what_it_degrades(
    program: Program, photo: Path, tmp_path: Path
) -> None:
    before = photo.read_bytes()
    for further in ((), ("--overwrite",)):
        refused = program("degrade", photo, "-o", tmp_path, *further)
        assert refused.status == 1 and "is one of the pictures" in refused.err
        assert photo.read_bytes() == before and not (tmp_path / "photo.json").exists()


def test_degrade_leaves_both_files_or_none(
    program: Program, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "zebra.png"
    other.write_bytes(photo.read_bytes())

    def full(*_: object, **__: object) -> None:
        raise DiskFullError("there is no room")

    with monkeypatch.context() as patch:
        patch.setattr("sr_cli.images.write", full)
        refused = program("degrade", photo, other, "-o", tmp_path / "bad")
    assert refused.status == 1
    assert refused.err.count("there is no room") == 1  # the next would not fit either
    assert "1 more not tried" in refused.err
    assert list((tmp_path / "bad").iterdir()) == []
    assert program("degrade", photo, other, "-o", tmp_path / "bad").status == 0
    facts = (tmp_path / "bad" / "photo.json").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("sr_cli.images.write", full)
        program("degrade", photo, "-o", tmp_path / "bad", "--seed", 1, "--overwrite")
    assert (tmp_path / "bad" / "photo.json").read_bytes() == facts  # of the picture that is there


def test_degrade_sees_nothing_of_what_is_hidden(program: Program, tmp_path: Path) -> None:
    pixels = np.full((96, 96, 4), 255, np.uint8)
    pixels[:, 48:] = (255, 0, 0, 0)  # red that nobody sees
    Image.fromarray(pixels).save(tmp_path / "a.png")
    done = program("degrade", tmp_path / "a.png", "-o", tmp_path / "bad", "--seed", 2)
    assert done.status == 0 and "its transparency is left out" in done.err
    colours = np.asarray(Image.open(tmp_path / "bad" / "a.png")).astype(int)
    assert np.ptp(colours.mean((0, 1))) < 2  # neither half is red


def test_a_full_disk_is_told_with_the_file(
    program: Program, photo: Path, tiny_weights: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    page = tmp_path / "page.svg"
    failed = program("estimate-degradation", photo, "-m", tiny_weights, "--plot", page)
    assert failed.status == 1 and f"No space left on device ({page})" in failed.err
    assert sorted(tmp_path.iterdir()) == [photo]


def test_a_picture_for_a_closed_standard_output_is_refused(
    program: Program, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "closed", {"stdout"})
    refused = program("upscale", photo, "-o", "-")
    assert refused.status == 2 and "standard output is closed" in refused.err


def test_a_picture_does_not_go_to_a_terminal(
    program: Program, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    refused = program("upscale", photo, "-o", "-")
    assert (refused.status, refused.out) == (2, "") and "go to the terminal" in refused.err
