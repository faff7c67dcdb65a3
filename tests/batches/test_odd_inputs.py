"""Pipes, folders that nobody may read, and folders that hold a single picture today."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from tests.batches.conftest import Upscale, draw, names
from tests.conftest import Outcome, scene

posix = pytest.mark.skipif(os.name != "posix", reason="pipes and signals of POSIX")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@contextmanager
def pipe_of(data: bytes, path: Path) -> Iterator[Path]:
    """A named pipe that gives the data once."""
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(data,), daemon=True)
    writer.start()
    yield path
    writer.join(10)


@posix
@pytest.mark.parametrize("out", [(), ("-o", "out/"), ("-o", "one.png")])
def test_a_pipe_is_read_once(upscale: Upscale, here: Path, out: tuple[str, ...]) -> None:
    picture = draw(here / "a.png").read_bytes()
    with pipe_of(picture, here / "pipe.png") as pipe:
        done = upscale(pipe.name, *out)
    assert done.status == 0, done.err
    written = {(): "pipe_x4.png", ("-o", "out/"): "out/pipe_x4.png"}.get(out, "one.png")
    assert upscale("a.png", "-o", "same.png").status == 0
    assert (here / written).read_bytes() == (here / "same.png").read_bytes()


@posix
@pytest.mark.parametrize("out", [(), ("-o", "out.png")])
def test_who_waits_for_a_pipe_can_be_stopped(
    here: Path, tiny_weights: Path, out: tuple[str, ...]
) -> None:
    os.mkfifo(here / "pipe.png")
    code = (
        "import sr_cli.cli.upscale as upscale\n"
        "from sr_cli.__main__ import main\n"
        "find = upscale.find_sources\n"
        "def told(*a, **k): print('ready', flush=True); return find(*a, **k)\n"
        "upscale.find_sources = told\n"
        "main()\n"
    )
    command = [sys.executable, "-c", code, "upscale", "pipe.png", "-m", str(tiny_weights), *out]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    time.sleep(3)  # by now it waits, and if not, it has even less to stop
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert names(here) == ["pipe.png"]


@pytest.mark.parametrize("named", ["tree", "tree/*", "tree/**", "tree/sub tree/a.png"])
def test_a_folder_that_cannot_be_read_is_told(
    upscale: Upscale, here: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    draw(here / "tree" / "a.png")
    draw(here / "tree" / "sub" / "b.png")
    scandir, listdir = os.scandir, os.listdir

    def guarded(real):  # type: ignore[no-untyped-def]
        def look(path="."):  # type: ignore[no-untyped-def]
            if str(path).rstrip("/").endswith("sub"):
                raise PermissionError(13, "Permission denied", str(path))
            return real(path)

        return look

    monkeypatch.setattr(os, "scandir", guarded(scandir))
    monkeypatch.setattr(os, "listdir", guarded(listdir))
    done = upscale(*named.split(), "--recursive", "-o", "out/", "--json")
    assert done.status == 1
    assert "sub: the folder cannot be read: Permission denied" in done.err
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert sorted("error" in line for line in lines) == [False, True]
    assert names(here / "out") == ["a_x4.png"]


def test_pictures_of_kinds_that_are_not_read_are_left_out_in_one_note(
    upscale: Upscale, here: Path, send: Callable[[bytes], None]
) -> None:
    draw(here / "in" / "a.png")
    for name in ("b.HEIC", "c.heic", "d.jp2", "notes.txt", ".e.heic"):
        (here / "in" / name).write_bytes(b"x")
    told = "3 files of kinds that are not read (.heic, .jp2) were left out; convert them first"
    for number, named in enumerate((["in"], ["in/*"], ["in", "in/../in", "in/*"])):
        done = upscale(*named, "-o", f"out{number}/", "--json")
        assert done.status == 0 and len(done.out.splitlines()) == 1
        assert [line for line in done.err.splitlines() if "left out" in line] == [told]
    send(b"in\n")
    assert told in upscale("-", "-o", "listed/").err
    (here / "in" / "sub").mkdir()
    (here / "in" / "sub" / "f.nef").write_bytes(b"x")
    deep = upscale("in", "--recursive", "-o", "deep/")
    assert deep.status == 0 and "4 files of kinds that are not read (.heic, .jp2, .nef)" in deep.err
    beside = upscale("in/a.png", "in/sub", "-o", "beside/")
    assert beside.status == 1 and "sub: the pictures in this folder itself are of " in beside.err
    assert "left out" not in beside.err
    draw(here / "in" / "sub" / "b.png")
    one = upscale("in/sub", "-o", "one/")
    assert "1 file of a kind that is not read (.nef) was left out; convert it first" in one.err


def test_where_there_is_nothing_but_kinds_that_are_not_read_it_is_said(
    upscale: Upscale, here: Path
) -> None:
    (here / "in").mkdir()
    for name in ("a.heic", "b.CR2"):
        (here / "in" / name).write_bytes(b"x")
    kinds = "are of kinds that are not read (.cr2, .heic); convert them first"
    for named, said in (
        (["in"], f"in: the pictures in this folder itself {kinds}; --recursive looks into "),
        (["in", "--recursive"], f"in: the pictures in this folder {kinds}. Name another folder"),
        (["in/*"], f"in/*: the pictures that match this pattern {kinds}. Name another folder"),
    ):
        refused = upscale(*named)
        assert refused.status == 1 and said in refused.err and "left out" not in refused.err
    asked_for = upscale("in/*.heic")
    assert asked_for.status == 1 and "a.heic: this is text, not a picture" in asked_for.err


@pytest.mark.parametrize("command", ["estimate-degradation", "degrade"])
def test_other_commands_tell_of_kinds_that_are_not_read_too(
    program: Callable[..., Outcome], here: Path, tiny_weights: Path, command: str
) -> None:
    draw(here / "in" / "a.png", size=(96, 96))
    (here / "in" / "b.heic").write_bytes(b"x")
    how = ("-o", "out") if command == "degrade" else ("-m", tiny_weights)
    done = program(command, "in", *how)
    assert done.status == 0
    assert "1 file of a kind that is not read (.heic) was left out; convert it first" in done.err


def test_a_heic_on_standard_input_is_named_by_its_kind(
    upscale: Upscale, here: Path, send: Callable[[bytes], None]
) -> None:
    send(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic\0\0")
    refused = upscale("-", "-o", "out.png")
    assert refused.status == 1 and "-: this is a picture in HEIC" in refused.err


@posix
@pytest.mark.parametrize("named", ["in", "in/*", "in/*.jpg"])
def test_a_link_to_nothing_is_a_picture_that_fails(
    upscale: Upscale, here: Path, named: str
) -> None:
    draw(here / "in" / "a.jpg")
    (here / "in" / "b.jpg").symlink_to("/gone.jpg")
    (here / "in" / "notes.txt").symlink_to("/gone.txt")
    done = upscale(named, "-o", "out/", "--json")
    assert done.status == 1
    lines = [json.loads(line) for line in done.out.splitlines()]
    failed = [line for line in lines if "error" in line]
    assert failed == [{"input": str(Path("in") / "b.jpg"), "error": "there is no such file"}]
    assert names(here / "out") == ["a_x4.png"]


def test_a_folder_of_one_picture_goes_to_a_folder_as_those_of_two_do(
    upscale: Upscale, here: Path, send: Callable[[bytes], None]
) -> None:
    draw(here / "in" / "a.png")
    assert upscale("in", "-o", "results-v1.5").status == 0
    assert upscale("in/*", "-o", "out.d", "--format", "png").status == 0
    assert names(here / "results-v1.5") == names(here / "out.d") == ["a_x4.png"]
    assert upscale("in", "-o", "one.png").status == 0 and (here / "one.png").is_file()
    send(b"in/a.png\n")
    assert upscale("-", "-o", "listed-v2.5").status == 0
    assert names(here / "listed-v2.5") == ["a_x4.png"]
    named = upscale("in/a.png", "-o", "one.v5")
    assert named.status == 2 and "names no format" in named.err


@posix
@pytest.mark.parametrize("name", ["/dev/stdin", "/dev/fd/63", "/proc/self/fd/0"])
def test_nothing_is_put_beside_the_shells_pipes(upscale: Upscale, here: Path, name: str) -> None:
    outcome = upscale(name)
    told = " ".join(outcome.err.replace("│", " ").split())  # out of its box
    assert outcome.status == 2 and "name its result with -o" in told


def test_folders_of_such_names_are_folders(upscale: Upscale, here: Path) -> None:
    draw(here / "work" / "dev" / "a.png")
    draw(here / "dev" / "b.png")
    assert upscale("work/dev/a.png", "dev/b.png").status == 0
    assert (here / "work" / "dev" / "a_x4.png").is_file() and (here / "dev" / "b_x4.png").is_file()


def test_a_result_of_another_picture_is_not_taken_for_this_ones(
    upscale: Upscale, here: Path
) -> None:
    draw(here / "a.jpg", size=(9, 7))
    draw(here / "a.png", size=(12, 8))
    draw(
        here / "turned.jpg",
        size=(9, 7),
        exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0",
    )
    assert upscale("a.jpg", "-o", "out/").status == 0
    again = upscale("a.png", "-o", "out/", "--skip-existing")
    assert again.status == 1 and "is not this picture enlarged x4" in again.err
    again = upscale("a.jpg", "-o", "out/", "--skip-existing")
    assert again.status == 0 and "is there already and was left" in again.err
    assert upscale("turned.jpg").status == 0
    assert upscale("turned.jpg", "--skip-existing").status == 0
    other = upscale("a.jpg", "-o", "out/", "--skip-existing", "--outscale", 2, "--suffix", "_x4")
    assert other.status == 1 and "is not this picture enlarged x2" in other.err


def test_results_of_any_suffix_and_place_are_not_enlarged_again(
    upscale: Upscale, here: Path
) -> None:
    draw(here / "in" / "a.png")
    draw(here / "in" / "a_photo.png")  # made elsewhere
    assert upscale("in", "--suffix", "_one").status == 0
    second = upscale("in", "--suffix", "-two", "--format", "tiff")
    assert second.status == 0 and "2 left out as results" in second.err
    assert upscale("in", "--recursive", "-o", "in/out").status == 0
    assert upscale("in", "--recursive", "-o", "in/other").status == 0
    assert names(here / "in" / "other") == ["a_photo_x4.png", "a_x4.png"]
    draw(here / "in" / "ab.png")
    assert upscale("in/ab.png").status == 0
    (here / "in" / "ab.png").unlink()
    assert upscale("in/a.png", "in/ab*", "-o", "more").status == 0
    assert names(here / "more") == ["a_x4.png", "ab_x4_x4.png"]  # of which ab is not here
    named = upscale("in/a.png", "in/a_one.png", "-o", "named")  # as was asked for
    assert named.status == 0 and names(here / "named") == ["a_one_x4.png", "a_x4.png"]


def test_results_are_enlarged_once_more_where_they_are_asked_for_alone(
    upscale: Upscale, here: Path
) -> None:
    draw(here / "in" / "a.png")
    for source, target in (("in", "once"), ("once", "twice")):
        assert upscale(source, "-o", target, "--suffix", "").status == 0
        assert names(here / target) == ["a.png"]


def test_results_of_equal_names_below_their_folder_are_not_enlarged_again(
    upscale: Upscale, here: Path
) -> None:
    (here / "in").mkdir()
    draw(here / "in" / "a.png")
    draw(here / "in" / "a.jpg")
    again = ("in", "-o", "in/large", "--recursive", "--suffix", "", "--skip-existing")
    assert upscale(*again).status == 0
    made = names(here / "in" / "large")
    assert made == ["a_jpg.png", "a_png.png"]
    second = upscale(*again)
    assert second.status == 0 and "0 done, 2 skipped" in second.err
    assert names(here / "in" / "large") == made and not (here / "in" / "large" / "large").exists()


@pytest.mark.parametrize("size", [(4, 4), (4, 300)])
def test_a_report_shows_what_hardly_anything_is_left_of(
    upscale: Upscale, here: Path, size: tuple[int, int]
) -> None:
    draw(here / "a.png", size=size)
    outcome = upscale("a.png", "--outscale", "0.1", "--report", "page.html")
    assert outcome.status == 0, outcome.err
    assert "data:image/jpeg" in (here / "page.html").read_text(encoding="utf-8")


def test_a_report_tells_what_was_skipped_and_is_there_after_an_interrupt(
    upscale: Upscale, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        draw(here / f"{name}.png")
    right, calls = os.fsync, []

    def interrupted(file: int) -> None:
        calls.append(file)
        if len(calls) == 2:
            raise KeyboardInterrupt
        right(file)

    monkeypatch.setattr(os, "fsync", interrupted)
    assert upscale(".", "-o", "out", "--report", "first.html").status == 130
    monkeypatch.undo()
    monkeypatch.chdir(here)
    first = (here / "first.html").read_text(encoding="utf-8")
    assert "1 done, 0 skipped, 0 failed, 2 not reached" in first
    assert upscale(".", "-o", "out", "--skip-existing", "--report", "second.html").status == 0
    assert "2 done, 1 skipped, 0 failed" in (here / "second.html").read_text(encoding="utf-8")


def test_an_interrupt_stays_one_where_its_report_cannot_be_written(
    upscale: Upscale, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        draw(here / f"{name}.png")
    right, calls = os.fsync, []

    def failing(file: int) -> None:
        calls.append(file)
        if len(calls) == 2:
            raise KeyboardInterrupt
        if len(calls) == 3:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        right(file)

    monkeypatch.setattr(os, "fsync", failing)
    outcome = upscale(".", "-o", "out", "--report", "page.html")
    assert outcome.status == 130 and len(calls) == 3
    assert f"{os.strerror(errno.EIO)} (page.html)" in outcome.err
    assert not (here / "page.html").exists()


def test_what_is_skipped_is_a_line_too_and_a_report_gets_another_name(
    upscale: Upscale, here: Path
) -> None:
    draw(here / "a.png")
    assert upscale("a.png", "-o", "out/", "--report", "page.html").status == 0
    again = upscale("a.png", "-o", "out/", "--skip-existing", "--report", "page.html")
    assert again.status == 1 and "page.html exists already; name another file." in again.err
    done = upscale("a.png", "-o", "out/", "--skip-existing", "--json", "--report", "page2.html")
    assert done.status == 0
    target = str(Path("out") / "a_x4.png")
    assert json.loads(done.out) == {"input": "a.png", "output": target, "skipped": True}


def test_in_brief_a_picture_is_one_line_with_what_was_wrong(
    program: Callable[..., Outcome], tmp_path: Path
) -> None:
    for name in ("a", "b"):
        Image.fromarray(scene(24, 28)).save(tmp_path / f"{name}.png")
    lines = program("upscale", "a.png", "b.png", "-o", "out", "--brief").out.splitlines()
    for line, name in zip(lines, ("a", "b"), strict=True):
        assert re.match(rf"out.{name}_x4\.png  112x96  [\d.]+ s  \S+", line)
    said = lines[0].split("  ", 3)[3]
    assert program("estimate-degradation", "a.png", "--brief").out == f"a.png  {said}\n"
    whole = " ".join(program("estimate-degradation", "a.png").out.split())
    assert whole.endswith(f"In short: {said}.")


def test_in_brief_a_model_of_which_nothing_is_known_has_its_line_too(
    program: Callable[..., Outcome], tmp_path: Path, tiny_weights: Path
) -> None:
    Image.fromarray(scene(16, 20)).save(tmp_path / "a.png")
    brief = ("a.png", "-m", tiny_weights, "--brief")
    assert re.fullmatch(r"a_x4\.png  80x64  [\d.]+ s\n", program("upscale", *brief).out)
    told = program("estimate-degradation", *brief).out
    assert told == "a.png  nothing that could be said in short\n"
