"""Batches: what goes in, what comes out and under which names, and how failures are told."""

from __future__ import annotations

import base64
import errno
import io
import json
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sr_cli.cli import batch, console, enlarging
from sr_cli.cli.inputs import Source, find_sources
from sr_cli.images import Picture
from sr_cli.images.preview import busiest
from sr_cli.inference.engine import Engine
from sr_cli.networks.registry import family
from sr_cli.zoo import weights
from tests.batches.conftest import Upscale, draw, names
from tests.conftest import Outcome

Send = Callable[[bytes], None]
linux = pytest.mark.skipif(sys.platform != "linux", reason="names and devices of Linux")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_keeps_its_tree(upscale: Upscale, here: Path) -> None:
    draw(here / "in" / "a.png")
    draw(here / "in" / "deep" / "er" / "b.png")
    assert upscale("in", "-o", "flat").status == 0
    assert names(here / "flat") == ["a_x4.png"]
    assert upscale("in", "-o", "out", "--recursive").status == 0
    assert names(here / "out") == ["a_x4.png", "deep/er/b_x4.png"]


def test_a_pattern_keeps_the_tree_below_its_fixed_part(upscale: Upscale, here: Path) -> None:
    for name in ("in/a.png", "in/x/b.png", "in/x/b.jpg"):
        draw(here / name)
    assert upscale("in/**/*.png", "-o", "out").status == 0
    assert names(here / "out") == ["a_x4.png", "x/b_x4.png"]


def test_a_pattern_finds_pictures_and_those_of_folders(upscale: Upscale, here: Path) -> None:
    draw(here / "in1" / "a.png")
    draw(here / "in2" / "sub" / "b.png")
    (here / "in1" / "notes.txt").write_text("no picture")
    assert upscale("in*", "-o", "out").status == 0
    assert names(here / "out") == ["in1/a_x4.png"]
    assert upscale("in1/*", "-o", "flat").status == 0
    assert names(here / "flat") == ["a_x4.png"]
    asked_for = upscale("in1/*.txt", "in1/a.png", "-o", "text")
    assert asked_for.status == 1 and "notes.txt: this is text" in asked_for.err
    none = upscale("in2/*.jpg")
    assert none.status == 1 and "no picture matches this pattern" in none.err


@pytest.mark.skipif(os.name != "posix", reason="links of POSIX")
def test_a_pattern_does_not_go_round_in_circles(upscale: Upscale, here: Path) -> None:
    draw(here / "in" / "a.png")
    for name in ("loop", "other"):  # 2^40 ways to go, if links were followed
        (here / "in" / name).symlink_to(here / "in")
    for pattern in ("in/**", "in/*", "in/**/*.png"):
        out = here / f"out{len(pattern)}"
        assert upscale(pattern, "-o", out).status == 0
        assert names(out) == ["a_x4.png"]


def test_pictures_are_taken_in_the_order_of_their_names(here: Path) -> None:
    shuffled = np.random.default_rng(0).permutation(30)
    for number in shuffled:
        draw(here / "in" / f"{number:02}.png")
    for name in ("in", "in/*.png"):
        found = [source.path.stem for source in find_sources([name], recursive=False)]
        assert found == [f"{number:02}" for number in range(30)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\0"])
def test_a_list_of_names_on_standard_input(
    upscale: Upscale, here: Path, send: Send, end: bytes
) -> None:
    listed = ["a b.png", "Ünï/写真.png", "[1].png"]
    for name in listed:
        draw(here / name)
    draw(here / "1.png")  # what "[1].png" would match as a pattern
    send(end.join(os.fsencode(name) for name in listed) + end)
    assert upscale("-", "-o", "out").status == 0
    assert names(here / "out") == ["[1]_x4.png", "a b_x4.png", "写真_x4.png"]


def test_a_picture_on_standard_input_goes_to_standard_output(
    upscale: Upscale, here: Path, send: Send, standard_output: Callable[[], io.BytesIO]
) -> None:
    send(draw(here / "a.png").read_bytes())
    written = standard_output()
    outcome = upscale("-")
    assert outcome.status == 0
    assert Image.open(io.BytesIO(written.getvalue())).size == (36, 28)
    assert written.getvalue().endswith(b"IEND\xaeB`\x82")
    assert "36x28" in outcome.err  # what is told otherwise goes to standard error
    assert names(here) == ["a.png"]
    send((here / "a.png").read_bytes())
    written = standard_output()
    assert upscale("a.png", "-").status == 0  # among others it is still alone there
    assert written.getvalue().startswith(b"\x89PNG") and written.getvalue().count(b"IEND") == 1
    assert names(here) == ["a.png", "a_x4.png"]


def test_standard_input_and_output_with_files_at_the_other_end(
    upscale: Upscale, here: Path, send: Send, standard_output: Callable[[], io.BytesIO]
) -> None:
    data = draw(here / "a.tif").read_bytes()
    send(data)
    assert upscale("-", "-o", "out/large.jpg").status == 0
    send(data)
    assert upscale("-", "-o", "out").status == 0
    assert names(here / "out") == ["large.jpg", "stdin_x4.tif"]
    written = standard_output()
    assert upscale("a.tif", "-o", "-").status == 0
    assert Image.open(io.BytesIO(written.getvalue())).format == "TIFF"


def test_what_standard_input_and_output_cannot_be(upscale: Upscale, here: Path, send: Send) -> None:
    draw(here / "a.png")
    draw(here / "b.png")
    assert upscale("a.png", "b.png", "-o", "-").status == 2
    assert upscale("a.png", "-o", "-", "--json").status == 2
    for data, word in ((b"", "empty"), (b"\n\n", "empty"), (b"\x01\x02", "neither")):
        send(data)
        outcome = upscale("-", "-o", "out")
        assert outcome.status == 1 and word in outcome.err
    send((here / "a.png").read_bytes()[:60])
    outcome = upscale("-", "-o", "out", "--json")
    assert outcome.status == 1 and json.loads(outcome.out)["input"] == "-"


@pytest.mark.parametrize("name", ["BM at work.png", "P6.png", "GIF89a or so.png", "II*.png"])
def test_names_that_begin_as_pictures_do_are_names(
    upscale: Upscale, here: Path, send: Send, name: str
) -> None:
    draw(here / name)
    send(name.encode() + b"\n")
    assert upscale("-").status == 0
    assert len(names(here)) == 2


def test_results_of_one_name_are_told_apart_by_what_they_are_of(
    upscale: Upscale, here: Path
) -> None:
    listed = ["a.jpg", "a.png", "A.png", "b.png", "b_png.png"]
    for seed, name in enumerate(listed):
        draw(here / "in" / name, seed=seed, size=(4 + seed, 5))
    if len(names(here / "in")) < len(listed):
        pytest.skip("the file system ignores case")
    assert upscale("in", "-o", "out").status == 0
    widths = {name: Image.open(here / "out" / name).width // 4 for name in names(here / "out")}
    assert sorted(widths.values()) == [4, 5, 6, 7, 8]
    assert widths["a_jpg_x4.png"] == 4 and widths["b_x4.png"] == 7 and widths["b_png_x4.png"] == 8
    assert len({name.casefold() for name in widths}) == len(widths)
    # Another order makes no difference: all are there.
    again = upscale(*(f"in/{name}" for name in reversed(listed)), "-o", "out", "--skip-existing")
    assert again.status == 0 and "0 done, 5 skipped, 0 failed" in again.err


def test_pictures_of_one_name_in_two_folders(upscale: Upscale, here: Path) -> None:
    draw(here / "x" / "a.png", size=(4, 4))
    draw(here / "y" / "a.png", size=(5, 4))
    assert upscale("x/a.png", "y/a.png", "-o", "out").status == 0
    first = names(here / "out")
    assert len(first) == 2 and all(name.startswith("a_png_") for name in first)
    assert "2 skipped" in upscale("y", "x", "-o", "out", "--skip-existing").err
    assert names(here / "out") == first


def test_a_longer_name_that_another_picture_has_goes_on_being_its_own(
    upscale: Upscale, here: Path
) -> None:
    for seed, name in enumerate(("a.jpg", "a.png", "a_png.png")):
        draw(here / "in" / name, seed=seed, size=(4 + seed, 5))
    assert upscale("in", "-o", "out", "--overwrite").status == 0
    widths = {name: Image.open(here / "out" / name).width // 4 for name in names(here / "out")}
    assert sorted(widths.values()) == [4, 5, 6] and widths["a_png_x4.png"] == 6


def test_a_picture_named_twice_is_done_once(upscale: Upscale, here: Path) -> None:
    draw(here / "in" / "a.png")
    outcome = upscale("in/a.png", "in", "in/../in/a.png", "in/*.png")
    assert outcome.status == 0
    assert names(here / "in") == ["a.png", "a_x4.png"]


@pytest.mark.parametrize("options", [[], ["--format", "jpg"]])
def test_results_among_the_inputs_are_not_enlarged_again(
    upscale: Upscale, here: Path, options: list[str]
) -> None:
    for name in ("a.jpg", "a.png", "b.tif", "sub/c.png", "mine_x4.png"):
        draw(here / name)
    assert upscale(".", "--recursive").status == 0
    made = names(here)
    assert "mine_x4_x4.png" in made and len(made) == 10
    outcome = upscale(".", "--recursive", "--skip-existing", *options)
    assert outcome.status == 0 and "left out as results" in outcome.err
    assert not [name for name in names(here) if name.count("_x4") > 1 + name.startswith("mine")]


def test_results_of_another_enlargement_are_not_enlarged_again(
    upscale: Upscale, here: Path
) -> None:
    for name in ("a.png", "mine_x2.png"):
        draw(here / name)
    assert upscale(".").status == 0
    outcome = upscale(".", "--outscale", "2.5")
    assert outcome.status == 0 and "left out as results" in outcome.err
    assert upscale(".", "--skip-existing").status == 0
    made = [f"{stem}_x{factor}.png" for stem in ("a", "mine_x2") for factor in ("2.5", "4")]
    assert names(here) == sorted(["a.png", "mine_x2.png", *made])


def test_results_in_a_folder_below_the_inputs_are_not_enlarged_again(
    upscale: Upscale, here: Path
) -> None:
    draw(here / "a.png")
    draw(here / "sub" / "b.png")
    for _ in range(2):
        assert upscale(".", "--recursive", "-o", "large", "--skip-existing").status == 0
    assert names(here / "large") == ["a_x4.png", "sub/b_x4.png"]


def test_resuming_makes_again_only_what_does_not_open(upscale: Upscale, here: Path) -> None:
    for number in range(4):
        draw(here / "in" / f"{number}.png", seed=number)
    assert upscale("in", "-o", "out").status == 0
    good = {name: (here / "out" / name).read_bytes() for name in names(here / "out")}
    (here / "out" / "0_x4.png").write_bytes(good["0_x4.png"][:-200])
    (here / "out" / "1_x4.png").write_bytes(b"")
    (here / "out" / "2_x4.png").unlink()
    kept = (here / "out" / "3_x4.png").stat()
    outcome = upscale("in", "-o", "out", "--skip-existing")
    assert outcome.status == 0 and "3 done, 1 skipped, 0 failed" in outcome.err.splitlines()
    assert {name: (here / "out" / name).read_bytes() for name in names(here / "out")} == good
    assert (here / "out" / "3_x4.png").stat().st_mtime_ns == kept.st_mtime_ns


def test_formats_of_results(upscale: Upscale, here: Path) -> None:
    for name in ("a.tiff", "b.bmp", "c.jpg", "d.gif", "e.avif", "f.ppm"):
        draw(here / "in" / name)
    draw(here / "in" / "g.webp", lossless=True)
    draw(here / "in" / "h.webp")
    Image.new("RGBA", (5, 4), (9, 9, 9, 9)).save(here / "in" / "i.bmp")  # has no transparency
    assert upscale("in", "-o", "out").status == 0
    expected = ["a_x4.tiff", "b_x4.bmp", "c_x4.png", "d_x4.png", "e_x4.png", "f_x4.ppm"]
    found = names(here / "out")
    assert found[:8] == [*expected, "g_x4.webp", "h_x4.png"]
    for name in found:
        kind = {"tiff": "TIFF", "ppm": "PPM", "webp": "WEBP", "bmp": "BMP"}
        with Image.open(here / "out" / name) as image:
            assert image.format == kind.get(name.rpartition(".")[2], "PNG")
    upscale("in/a.tiff", "-o", "asked", "--format", "jpg")
    upscale("in/a.tiff", "-o", "named.webp")
    assert names(here / "asked") == ["a_x4.jpg"] and Image.open("named.webp").format == "WEBP"


def test_the_default_is_no_format_that_is_too_small(
    upscale: Upscale, here: Path, interpolating: None
) -> None:
    Image.new("L", (4096, 1)).save(here / "long.webp", lossless=True)  # 16384 is too long for it
    assert upscale("long.webp").status == 0
    assert "long_x4.png" in names(here)
    refused = upscale("long.webp", "-o", "long_x4.webp")
    assert refused.status == 1 and "16383" in refused.err


def test_failures_are_told_when_they_happen_and_in_the_end(upscale: Upscale, here: Path) -> None:
    draw(here / "good.png")
    (here / "bad.png").write_bytes(b"")
    (here / "empty").mkdir()
    outcome = upscale("bad.png", "none.png", "empty", "*.nothing", "good.png", "--json")
    assert outcome.status == 1
    lines = [json.loads(line) for line in outcome.out.splitlines()]
    assert [set(line) == {"input", "error"} for line in lines] == [True] * 4 + [False]
    reasons = {line["input"]: line["error"] for line in lines[:4]}
    assert reasons["bad.png"] == "the file is empty"
    assert "no picture" in reasons["empty"]
    assert "no picture matches" in reasons["*.nothing"]
    summary = outcome.err[outcome.err.index("1 done, 0 skipped, 4 failed") :]
    for name, reason in reasons.items():
        assert f"{name}: {reason}" in outcome.err and f"{reason}: {name}" in summary


def test_nothing_at_all_is_an_error(upscale: Upscale, here: Path) -> None:
    (here / "empty").mkdir()
    outcome = upscale("empty")
    assert outcome.status == 1 and "no picture in this folder" in outcome.err


def test_a_bug_in_one_picture_spares_the_others(
    upscale: Upscale, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        draw(here / f"{number}.png", size=(8 + number, 8))
    right = Engine.upscale

    def wrong(engine: Engine, rgb: np.ndarray, *rest: object, **more: object) -> object:
        if rgb.shape[1] == 9:
            raise ValueError("unforeseen")
        return right(engine, rgb, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Engine, "upscale", wrong)
    outcome = upscale(".")
    assert outcome.status == 1 and "Traceback" not in outcome.err
    assert "unforeseen" in outcome.err and "2 done, 0 skipped, 1 failed" in outcome.err


def test_too_little_memory_is_a_sentence(
    upscale: Upscale, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy(*_: object, **__: object) -> None:
        raise RuntimeError("[enforce fail] not enough memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(Engine, "upscale", greedy)
    outcome = upscale(draw(here / "a.png"))
    assert outcome.status == 1 and "not enough memory for it" in outcome.err


def test_not_every_error_that_speaks_of_memory_is_too_little_of_it() -> None:
    assert "internal error" in batch.reason(
        RuntimeError("CUDA error: an illegal memory access was encountered")
    )


def test_what_the_system_says_is_a_reason_with_and_without_a_number() -> None:
    assert batch.reason(OSError(errno.EIO, "x")) == os.strerror(errno.EIO)
    assert batch.reason(OSError("a pipe is broken")) == "a pipe is broken"


def test_a_full_disk_ends_the_batch_with_one_sentence(
    upscale: Upscale, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        draw(here / f"{number}.png")
    calls = []

    def full(_: int) -> None:
        calls.append(1)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    outcome = upscale(".", "-o", "out", "--json")
    assert outcome.status == 1 and len(calls) == 2
    told = outcome.err.splitlines()
    assert told[0].endswith("there is no space left to write the picture")
    assert told[1] == "1 done, 0 skipped, 3 failed"
    assert names(here / "out") == ["0_x4.png"]
    errors = [json.loads(line).get("error", "") for line in outcome.out.splitlines()]
    assert [error.startswith("not tried") for error in errors] == [False, False, True, True]


@linux
def test_a_device_without_space(upscale: Upscale, here: Path) -> None:
    outcome = upscale(draw(here / "a.png"), "-o", "/dev/full")
    assert outcome.status == 1
    assert outcome.err.strip() == f"{here / 'a.png'}: there is no space left to write the picture"


def test_what_is_written_slower_than_the_next_is_made_is_told_too() -> None:
    second_is_made = threading.Event()
    told: list[int] = []

    def make(number: int, _: Callable[[], None]) -> int:
        if number == 1:
            second_is_made.set()
        return number

    def put(number: int) -> None:
        assert number or second_is_made.wait(10)

    work = batch.Work(
        lambda source, _: int(source.path.name), make, put, told.append, lambda _: False
    )
    tally = batch.Tally(3, as_json=False)
    pairs = [(Source(Path(str(n)), Path(str(n))), Path(f"{n}.png")) for n in range(3)]
    batch.run(pairs, [work], tally)
    assert told == [0, 1, 2] and tally.counts == "3 done, 0 skipped, 0 failed"


@pytest.mark.parametrize("moment", ["makes", "waits"])
def test_what_is_being_written_when_the_program_ends_is_told(
    moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, told = threading.Event(), []

    def make(number: int, _: Callable[[], None]) -> int:
        if number == 1 and moment == "makes":
            ended.set()
            raise KeyboardInterrupt
        return number

    def put(number: int) -> None:
        assert number or ended.wait(10)

    real, calls = batch.wait, []

    def waited(futures: tuple[Future[None]], timeout: float | None = None) -> object:
        if timeout is None and not calls:
            calls.append(1)
            ended.set()
            raise KeyboardInterrupt
        return real(futures, timeout)

    if moment == "waits":
        monkeypatch.setattr(batch, "wait", waited)
    work = batch.Work(
        lambda source, _: int(source.path.name), make, put, told.append, lambda _: False
    )
    tally = batch.Tally(3, as_json=False)
    pairs = [(Source(Path(str(n)), Path(str(n))), Path(f"{n}.png")) for n in range(3)]
    with pytest.raises(KeyboardInterrupt):
        batch.run(pairs, [work], tally)
    assert told == [0] and tally.counts == "1 done, 0 skipped, 0 failed, 2 not reached"


def test_bars_say_which_picture_of_how_many(
    upscale: Upscale,
    program: Callable[..., Outcome],
    tiny_weights: Path,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("in/a.png", "in/c.png"):
        draw(here / name)
    (here / "in" / "b.png").write_bytes(b"broken")
    said: list[str] = []

    @contextmanager
    def progress(description: str, *, shown: bool = True) -> Iterator[Callable[..., None]]:
        said.append(description)
        yield lambda *_: None

    monkeypatch.setattr(console, "progress", progress)
    assert upscale("in", "-o", "out").status == 1
    assert said == ["1/3 a.png", "3/3 c.png"]
    said.clear()
    assert program("estimate-degradation", "in", "-m", tiny_weights).status == 1
    assert said == ["1/3 a.png", "3/3 c.png"]
    said.clear()
    assert upscale("in/a.png", "-o", "alone.png").status == 0
    assert said == ["a.png"]


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program, while it writes its second file."""
    calls = []

    def interrupt(_: int) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise SystemExit(130)

    monkeypatch.setattr(os, "fsync", interrupt)


def test_an_interrupt_leaves_whole_files_only_and_says_how_far_it_came(
    upscale: Upscale, here: Path, interrupted: None
) -> None:
    for number in range(3):
        draw(here / f"{number}.png")
    outcome = upscale(".", "-o", "out")
    assert outcome.status == 130
    assert names(here / "out") == ["0_x4.png"]
    assert "1 done, 0 skipped, 0 failed, 2 not reached" in outcome.err


def test_an_interrupt_ends_the_work_of_every_device(
    upscale: Upscale, here: Path, interrupted: None
) -> None:
    for number in range(60):
        draw(here / f"{number:02}.png")
    assert upscale(".", "-o", "out", "--device", "cpu,cpu").status == 130
    assert len(names(here / "out")) < 30


@linux
def test_names_as_long_as_the_file_system_takes(upscale: Upscale, here: Path) -> None:
    draw(here / f"{'l' * 248}.png")  # the result needs three bytes more: that fits
    draw(here / f"{'m' * 251}.png")
    outcome = upscale(".", "x" * 300)
    assert outcome.status == 1
    assert "1 done, 0 skipped, 2 failed" in outcome.err
    assert "too long for the file system" in outcome.err
    assert len(names(here)) == 3


@linux
def test_names_that_are_no_text(upscale: Upscale, here: Path) -> None:
    for name in (b"caf\xe9.png", b"two\nlines.png", b"-dash.png"):
        shutil.copy(draw(here.parent / "plain.png"), os.fsdecode(bytes(here) + b"/" + name))
    outcome = upscale(".", "-o", "out", "--json")
    assert outcome.status == 0
    inputs = {os.fsencode(json.loads(line)["input"]) for line in outcome.out.splitlines()}
    assert inputs == {b"caf\xe9.png", b"two\nlines.png", b"-dash.png"}
    assert os.fsencode(names(here / "out")[1]) == b"caf\xe9_x4.png"


def test_a_folder_that_may_not_be_written_to_is_found_out_before_the_work(
    upscale: Upscale, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        pytest.fail("the work was done in vain")

    # Root may write anywhere, so the system's answer is put into its mouth.
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(Engine, "upscale", never)
    outcome = upscale(draw(here / "a.png"))
    assert outcome.status == 1 and "may not be written to" in outcome.err
    assert names(here) == ["a.png"]


@pytest.mark.skipif(os.name != "posix", reason="links of POSIX")
def test_links(upscale: Upscale, here: Path) -> None:
    draw(here / "elsewhere" / "a.png")
    (here / "in").mkdir()
    (here / "in" / "link.png").symlink_to(here / "elsewhere" / "a.png")
    (here / "in" / "gone.png").symlink_to(here / "nowhere.png")
    (here / "in" / "loop").symlink_to(here / "in")
    (here / "in" / "folder").symlink_to(here / "elsewhere")
    outcome = upscale("in", "in/gone.png", "--recursive", "-o", "out")
    assert outcome.status == 1 and "1 done, 0 skipped, 1 failed" in outcome.err
    assert names(here / "out") == ["link_x4.png"]
    (here / "in" / "gone.png").unlink()
    (here / "large").symlink_to(here / "out")
    assert upscale("in/link.png", "in", "-o", "large", "--skip-existing").status == 0
    assert names(here / "out") == ["link_x4.png"]


def test_a_link_to_a_folder_that_is_missing_makes_none(upscale: Upscale, here: Path) -> None:
    draw(here / "a.png")
    (here / "large.png").symlink_to(here / "unmounted" / "large.png")
    outcome = upscale("a.png", "-o", "large.png")
    assert outcome.status == 1 and "unmounted does not exist" in outcome.err
    assert not (here / "unmounted").exists()
    (here / "unmounted").mkdir()
    assert upscale("a.png", "-o", "large.png").status == 0
    assert names(here / "unmounted") == ["large.png"]


@linux
def test_names_that_command_a_terminal_are_told_in_escapes(
    upscale: Upscale, program: Callable[..., Outcome], tiny_weights: Path, here: Path
) -> None:
    draw(here / "in" / "a\x1b[31m\x9bb.png")
    (here / "in" / "c\x07d.png").touch()
    outcome = upscale("in", "-o", "out")
    assert "a\\x1b[31m\\x9bb" in outcome.out and "c\\x07d.png: the file is empty" in outcome.err
    estimated = program("estimate-degradation", "in", "-m", tiny_weights, "--brief")
    for text in (outcome.out, outcome.err, estimated.out, estimated.err):
        assert not set(text) & {"\x1b", "\x07", "\x9b"}


def test_the_limit_of_size_can_be_moved(upscale: Upscale, here: Path) -> None:
    draw(here / "a.png")
    refused = upscale("a.png", "--max-pixels", 62)
    assert refused.status == 1 and "--max-pixels 63" in refused.err
    assert upscale("a.png", "--max-pixels", 63).status == 0


def test_the_limit_is_raised_only_where_it_can_be(
    program: Callable[..., Outcome], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(here / "a.png")
    monkeypatch.setattr("sr_cli.images.reading.read.__kwdefaults__", {"max_pixels": 62})
    refused = program("degrade", "a.png", "-o", "bad")
    assert refused.status == 1 and "more than the limit of 62" in refused.err
    assert "--max-pixels" not in refused.err


def test_a_slash_makes_a_folder_of_any_name(upscale: Upscale, here: Path) -> None:
    draw(here / "a.png")
    assert upscale("a.png", "-o", "results.v2/").status == 0
    assert names(here / "results.v2") == ["a_x4.png"]


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_a_pipe_is_written_to_by_its_name(upscale: Upscale, here: Path) -> None:
    draw(here / "a.png")
    reading, writing = os.pipe()
    (here / "out").symlink_to(f"/dev/fd/{writing}")
    assert upscale("a.png", "-o", "out", "--format", "png").status == 0
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe, Image.open(io.BytesIO(pipe.read())) as image:
        assert image.size == (36, 28)


def test_a_suffix_stays_in_its_folder(upscale: Upscale, here: Path) -> None:
    draw(here / "a.png")
    assert upscale("a.png", "--suffix", "/../b").status == 2


def test_endings_are_in_lower_case(upscale: Upscale, here: Path) -> None:
    draw(here / "A.PNG")
    assert upscale("A.PNG").status == 0
    assert names(here) == ["A.PNG", "A_x4.png"]


def test_an_empty_suffix_needs_another_folder(upscale: Upscale, here: Path) -> None:
    draw(here / "a.png")
    assert upscale("a.png", "--suffix", "").status == 2
    assert upscale("a.png", "--suffix", "", "-o", "out").status == 0
    assert names(here / "out") == ["a.png"]
    assert upscale("a.png", "--suffix", "", "-o", ".").status == 1
    assert Image.open("a.png").size == (9, 7)


def test_two_slashes_and_a_dot_do_not_hide_that_the_output_is_the_input(
    upscale: Upscale, here: Path
) -> None:
    draw(here / "a.png")
    assert upscale(".", "-o", ".").status == 0
    assert "left out" in upscale(".", "-o", f"{here}//.", "--skip-existing").err
    assert names(here) == ["a.png", "a_x4.png"]


def test_devices_share_a_batch(upscale: Upscale, here: Path) -> None:
    for number in range(6):
        draw(here / f"{number}.png", size=(30 + number, 20))
    (here / "bad.png").write_bytes(b"nothing")
    outcome = upscale(".", "-o", "out", "--device", "cpu,cpu", "--precision", "fp32")
    assert outcome.status == 1
    assert "6 done, 0 skipped, 1 failed" in outcome.err and "bad.png" in outcome.err
    upscale(".", "-o", "alone", "--precision", "fp32")
    for number in range(6):
        together, alone = (Image.open(here / way / f"{number}_x4.png") for way in ("out", "alone"))
        assert np.array_equal(np.asarray(together), np.asarray(alone))


def test_another_enlargement_than_the_models(upscale: Upscale, here: Path) -> None:
    values = np.random.default_rng(3).integers(0, 256, (20, 31, 4)).astype(np.uint8)
    Image.fromarray(values, "RGBA").save(here / "a.png")
    outcome = upscale("a.png", "--outscale", "2.5", "--json")
    assert outcome.status == 0, outcome.err
    answer = json.loads(outcome.out)
    assert (answer["width"], answer["height"], answer["scale"]) == (78, 50, 2.5)
    with Image.open(here / "a_x2.5.png") as large:
        assert large.size == (78, 50) and large.mode == "RGBA"


def test_tiles_that_are_blended_are_told(program: Callable[..., Outcome], here: Path) -> None:
    options = {"features": 32, "blocks": 1, "estimator_blocks": 1, "iterations": 1}
    network = family("DANv1").build(**options)
    weights.write(here / "v1.safetensors", network.state_dict(), "DANv1", options)
    draw(here / "a.png", size=(40, 8))
    run = ("upscale", "a.png", "-m", "v1.safetensors", "--overwrite", "--tile")
    assert "its tiles overlap and are blended" in program(*run, 16).err
    assert program(*run, 0).err == ""


def test_all_orientations_averaged(upscale: Upscale, here: Path) -> None:
    draw(here / "a.png", size=(31, 20))
    outcome = upscale("a.png", "--tta", "--json")
    answer = json.loads(outcome.out)
    assert (answer["width"], answer["height"]) == (124, 80)


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (("--device", "cuda:7"), "cuda:7"),
        (("--precision", "fp16"), "fp16"),
        (("--precision", "int8", "--backend", "torch"), "int8"),
    ],
)
def test_what_this_machine_cannot_do_is_one_sentence(
    upscale: Upscale, here: Path, options: tuple[str, ...], hint: str
) -> None:
    draw(here / "a.png")
    outcome = upscale("a.png", *options)
    assert outcome.status == 1
    assert outcome.err.startswith("sr-cli: ") and hint in outcome.err
    assert len(outcome.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (("--device", "nonsense"), "nonsense"),
        (("--device", "cpu,nonsense"), "nonsense"),
        (("-o", "a.txt"), ".txt"),
        (("-o", "b.png", "--format", "jpg"), "name it b.jpg, or leave --format out"),
        (("-o", "b.PNG", "--format", "webp", "--overwrite"), "name it b.webp"),
        (("-o", "b.gif", "--format", "png"), "name it b.png"),
        (("-o", "b.heic", "--format", "avif"), "name it b.avif"),
    ],
)
def test_a_misused_command_line_is_told_before_any_work(
    upscale: Upscale, here: Path, options: tuple[str, ...], hint: str
) -> None:
    draw(here / "a.png")
    outcome = upscale("a.png", *options)
    assert outcome.status == 2
    assert hint in " ".join(outcome.err.replace("│", " ").split())  # out of its box
    assert names(here) == ["a.png"]


def test_an_ending_says_nothing_where_the_format_is_named(upscale: Upscale, here: Path) -> None:
    draw(here / "a.png")
    assert upscale("a.png", "-o", "a.txt", "--format", "png").status == 0
    with Image.open(here / "a.txt") as image:
        assert image.format == "PNG"


@pytest.mark.parametrize(
    ("out", "format"),
    [("b.jpeg", "jpg"), ("b.JPG", "jpeg"), ("b.tif", "TIFF"), ("b.pgm", "ppm"), ("b.pbm", "pnm")],
)
def test_a_format_may_be_named_beside_an_ending_of_its_own(
    upscale: Upscale, here: Path, out: str, format: str
) -> None:
    draw(here / "a.png")
    assert upscale("a.png", "-o", out, "--format", format).status == 0
    assert out in names(here)


def test_a_folder_may_end_as_pictures_of_another_format(upscale: Upscale, here: Path) -> None:
    draw(here / "a.png")
    assert upscale("a.png", "-o", "out.png/", "--format", "jpg").status == 0
    assert names(here / "out.png") == ["a_x4.jpg"]


def test_with_json_names_that_find_nothing_are_lines_too(upscale: Upscale, here: Path) -> None:
    (here / "empty").mkdir()
    outcome = upscale("*.jpg", "empty", "--json")
    assert outcome.status == 1
    assert [json.loads(line)["input"] for line in outcome.out.splitlines()] == ["*.jpg", "empty"]


def details(page: Path) -> list[np.ndarray]:
    """The pictures that a report shows."""
    found = re.findall(r"data:image/jpeg;base64,([^\"]+)", page.read_text("utf-8"))
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))).astype(int) for one in found]


def test_a_report_shows_every_picture_before_and_after(upscale: Upscale, here: Path) -> None:
    draw(here / "<one> & only.png", size=(31, 20))
    (here / "bad.png").write_bytes(b"nothing")
    how = ("--outscale", 4.5, "--tta", "--precision", "fp32", "--device", "cpu")
    outcome = upscale(".", "-o", "out", "--report", "pages/report.html", *how)
    assert outcome.status == 1
    page = (here / "pages" / "report.html").read_text(encoding="utf-8")
    assert "&lt;one&gt; &amp; only.png" in page and "<one>" not in page
    assert "1 done, 0 skipped, 1 failed" in page and "bad.png" in page
    assert "140 x 90 pixels (x4.5, mean of all flips and turns), " in page
    assert " s in fp32 on cpu" in page and "What the Estimator found" in page
    shapes = [one.shape for one in details(here / "pages" / "report.html")]
    assert shapes == [(90, 140, 3), (90, 140, 3)]
    assert "http" not in page  # it can be looked at without a network


def test_a_report_shows_pictures_that_are_written_as_they_are_made_too(
    upscale: Upscale, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(here / "a.png", size=(150, 140))
    how = ("--precision", "fp32", "--device", "cpu", "--tile", 32)
    assert upscale("a.png", "-o", "whole.png", "--report", "whole.html", *how).status == 0
    monkeypatch.setattr(enlarging, "GROWING_FROM", 0)
    assert upscale("a.png", "-o", "grown.png", "--report", "grown.html", *how).status == 0
    shown = [details(Path(name)) for name in ("whole.html", "grown.html")]
    assert [one.shape for one in shown[1]] == [(512, 512, 3)] * 2
    for whole, grown in zip(*shown, strict=True):
        assert abs(whole - grown).max() <= 2  # tiles are equal but for the last bits


@pytest.mark.parametrize("large", [False, True])
def test_a_report_shows_transparent_pictures_on_white(
    upscale: Upscale, here: Path, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    if large:
        monkeypatch.setattr(enlarging, "GROWING_FROM", 0)
    y, x = np.mgrid[:40, :48]
    pixels = np.zeros((40, 48, 4), np.uint8)
    pixels[..., 0] = pixels[..., 2] = (x + y) % 2 * 255  # magenta, where nothing is seen
    pixels[12:28, 16:32] = (0, 128, 0, 255)
    Image.fromarray(pixels).save("a.png")
    assert upscale("a.png", "-o", "b.png", "--report", "page.html").status == 0
    away = np.ones((160, 192), bool)
    away[32:128, 48:144] = False
    for shown in details(Path("page.html")):
        assert shown[away].min() >= 250  # JPEG
        assert shown[64:96, 80:112].mean() < 200


def test_what_lies_beneath_transparent_pixels_does_not_count_as_detail() -> None:
    rgb = np.full((300, 400, 3), 0.5, np.float32)
    alpha = np.ones((300, 400), np.float32)
    rgb[:100:2, :200], alpha[:100, :200] = 1, 0
    rgb[240:280:4, 350:] = 0.7
    top, bottom, left, right = busiest(rgb, alpha)
    assert top <= 240 and bottom >= 278 and left <= 350 and right == 400


def test_the_detail_shown_is_where_most_happens() -> None:
    rgb = np.full((300, 400, 3), 0.5, np.float32)
    rgb[190:230:2, 250:300] = 1
    top, bottom, left, right = busiest(rgb)
    assert (bottom - top, right - left) == (128, 128)
    assert top <= 190 and bottom >= 230 and left <= 250 and right >= 300
    assert busiest(rgb[:20, :9]) == (0, 20, 0, 9)
    huge = np.zeros((64, 6000, 3), np.float32)
    huge[::2, :40] = 1  # most happens at the edge, which is not looked at
    huge[::4, 3000:3100] = 1
    assert busiest(huge) == (0, 64, 2973, 3101)


@pytest.mark.parametrize("height", [7, 50, 300])
def test_the_detail_shown_is_the_same_however_its_rows_come(height: int) -> None:
    rgb = np.random.default_rng(0).random((400, 130, 3), dtype=np.float32)
    rgb[:100] = rgb[250:] = 0.5  # so that it has rows of the result above and below it
    alpha = np.linspace(0, 1, 400 * 130, dtype=np.float32).reshape(400, 130)
    large, cover = (np.repeat(np.repeat(one, 2, axis=0), 2, axis=1) for one in (rgb, alpha))
    whole, parts = (enlarging._Detail(Picture(rgb, alpha), 2, (260, 800)) for _ in range(2))
    whole.see(0, large, cover)
    for first in range(0, len(large), height):
        rows = slice(first, first + height)
        parts.see(first, large[rows], cover[rows])
    assert parts.before_and_after() == whole.before_and_after()


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("option", [None, "--overwrite", "--skip-existing"])
def test_what_appears_while_a_picture_is_made_is_replaced_only_if_asked(
    upscale: Upscale, here: Path, monkeypatch: pytest.MonkeyPatch, option: str | None, large: bool
) -> None:
    draw(here / "a.png")
    if large:
        monkeypatch.setattr("sr_cli.cli.enlarging.GROWING_FROM", 0)
    name = "_grown" if large else "_enlarged"
    whole = getattr(enlarging, name)

    def slow(*arguments: object) -> object:
        Path("a_x4.png").write_text("somebody's")
        return whole(*arguments)

    monkeypatch.setattr(enlarging, name, slow)
    done = upscale("a.png", *([option] if option else []))
    kept = Path("a_x4.png").read_bytes() == b"somebody's"
    assert kept == (option != "--overwrite") == bool(done.status)
    assert ("a.png: a file of that name has appeared meanwhile and was kept" in done.err) == kept
    assert names(here) == ["a.png", "a_x4.png"]


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("width", [9, 8])
def test_what_another_run_has_made_meanwhile_counts_as_skipped_if_it_is_this_ones(
    upscale: Upscale, here: Path, monkeypatch: pytest.MonkeyPatch, width: int, large: bool
) -> None:
    draw(here / "a.png")
    draw(here / "other_run.png", size=(4 * width, 28))
    if large:
        monkeypatch.setattr("sr_cli.cli.enlarging.GROWING_FROM", 0)
    name = "_grown" if large else "_enlarged"
    whole = getattr(enlarging, name)

    def slow(*arguments: object) -> object:
        shutil.copy("other_run.png", "a_x4.png")
        return whole(*arguments)

    monkeypatch.setattr(enlarging, name, slow)
    done = upscale("a.png", "--skip-existing", "--json")
    if width == 9:
        facts = {"input": "a.png", "output": "a_x4.png", "skipped": True}
        assert (done.status, json.loads(done.out), done.err) == (0, facts, "")
    else:
        assert done.status == 1 and "is not this picture enlarged x4" in done.err
    assert Path("a_x4.png").read_bytes() == Path("other_run.png").read_bytes()
    Path("a_x4.png").unlink()
    refused = upscale("a.png", "--json")
    assert refused.status == 1 and "has appeared meanwhile" in json.loads(refused.out)["error"]


def test_a_result_that_does_not_open_is_made_again(upscale: Upscale, here: Path) -> None:
    draw(here / "a.png")
    Path("a_x4.png").write_bytes(b"half")
    assert upscale("a.png", "--skip-existing").status == 0
    with Image.open("a_x4.png") as made_again:
        assert made_again.size == (36, 28)
