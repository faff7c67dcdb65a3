"""Drawings to learn from are the same for a seed, sharp, and pictures as any other."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from training.corpus import read_corpus
from training.drawings import KINDS, Page, drawing, main


def test_a_seed_makes_one_drawing_and_another_another() -> None:
    assert drawing(3).tobytes() == drawing(3).tobytes() != drawing(4).tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_draws_something_sharp(kind: Callable[[Page], None]) -> None:
    page = Page(random.Random(1), 256)
    kind(page)
    pixels = np.asarray(page.image).astype(int)
    steps = np.abs(np.diff(pixels, axis=1)).max(-1)
    assert steps.max() > 60 and (steps > 0).mean() > 0.001


def test_lines_lie_on_the_grid_of_what_is_enlarged_about_as_often_as_not() -> None:
    page = Page(random.Random(0), 512)
    places = [page.place() for _ in range(4000)]
    assert 0.55 < np.mean([place % 4 == 0 for place in places]) < 0.7  # a half, and chance
    assert min(places) >= 0 and max(places) < 512


def test_a_folder_of_them_is_a_corpus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "drawings"
    main(["--out", str(out), "--count", "3", "--side", "128", "--seed", "7"])
    assert "wrote 3 drawings" in capsys.readouterr().out
    corpus = read_corpus([out], 96)
    assert corpus.files == 3 and corpus.shapes == ((128, 128),) * 3


@pytest.mark.parametrize("wrong", [["--count", "0"], ["--side", "64"]])
def test_what_cannot_be_drawn_is_refused(
    tmp_path: Path, wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--out", str(tmp_path / "d"), *wrong])
    assert stop.value.code == 2 and "must be at least" in capsys.readouterr().err
    assert not (tmp_path / "d").exists()


def test_a_folder_that_cannot_be_written_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as stop:
        main(["--out", str(tmp_path / "file"), "--count", "1", "--side", "128"])
    assert stop.value.code == 2 and "cannot be written" in capsys.readouterr().err
