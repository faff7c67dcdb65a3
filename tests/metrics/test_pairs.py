"""Ready data sets are recognised, and what does not fit together is said in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from sr_cli.metrics.evaluation import CaseError, jobs
from sr_cli.metrics.pairs import PairError, match, recognise
from sr_cli.metrics.protocols import PROTOCOLS
from tests.metrics.made import save

LAYOUTS = {
    "DIV2KRK": {"gt/img_{}_gt.png": 1, "lr_x2/im_{}.png": 2, "lr_x4/im_{}.png": 4},
    "NTIRE": {
        "DIV2K_valid_HR/080{}.png": 1,
        "DIV2K_valid_LR_unknown/X2/080{}x2.png": 2,
        "DIV2K_valid_LR_unknown/X4/080{}x4.png": 4,
    },
    "NTIRE mild": {"DIV2K_valid_HR/080{}.png": 1, "DIV2K_valid_LR_mild/080{}x4m.png": 4},
    "NTIRE x8": {"DIV2K_valid_HR/080{}.png": 1, "DIV2K_valid_LR_x8/080{}x8.png": 8},
    "RealSR": {
        "Canon/Test/4/Canon_00{}_HR.png": 1,
        "Canon/Test/4/Canon_00{}_LR4.png": 4,
        "Nikon/Test/4/Nikon_00{}_HR.png": 1,
        "Nikon/Test/4/Nikon_00{}_LR4.png": 4,
        "Nikon/Test/2/Nikon_00{}_HR.png": 1,
        "Nikon/Test/2/Nikon_00{}_LR2.png": 2,
    },
    "LR and HR": {"HR/{}.png": 1, "LR_bicubic/X4/{}x4.png": 4, "LR_bicubic/X2/{}x2.png": 2},
    "LR and HR plain": {"gt/{}.png": 1, "LR/{}.png": 4},
    "LR and HR by scale": {"X4/GT/{}.png": 1, "X4/LR/{}.png": 4},
}


def build(root: Path, layout: str, numbers: range = range(1, 4)) -> Path:
    for pattern, divisor in LAYOUTS[layout].items():
        for number in numbers:
            save(root / pattern.format(number), 96 // divisor, 128 // divisor, number)
    return root


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_recognised_and_its_pictures_are_paired(tmp_path: Path, layout: str) -> None:
    scale = 8 if layout.endswith("x8") else 4
    found = recognise(build(tmp_path, layout), scale)
    assert found is not None and layout.startswith(found.layout)
    assert len(found.pairs) == (6 if layout == "RealSR" else 3)
    for pair in found.pairs:
        number = next(c for c in reversed(pair.hr.stem) if c in "123")
        assert number in pair.lr.stem
    for job in jobs(PROTOCOLS["paired"].at(scale), tmp_path, 0):
        case = job.make()
        assert case.hr is not None and case.hr.shape[-1] == scale * case.lr.shape[-1]


def test_the_scale_chooses_among_the_pictures(tmp_path: Path) -> None:
    build(tmp_path, "DIV2KRK")
    two, four = recognise(tmp_path, 2), recognise(tmp_path, 4)
    assert two and four and two.pairs[0].lr.parent.name == "lr_x2"
    assert four.pairs[0].lr.parent.name == "lr_x4"
    assert recognise(tmp_path, 3) is None


def test_numbers_pair_as_numbers(tmp_path: Path) -> None:
    found = recognise(build(tmp_path, "DIV2KRK", range(1, 12)), 4)
    assert found is not None
    assert [pair.lr.stem for pair in found.pairs] == [f"im_{n}" for n in range(1, 12)]


def test_the_innermost_folder_of_realsr_alone(tmp_path: Path) -> None:
    build(tmp_path, "RealSR")
    found = recognise(tmp_path / "Canon" / "Test" / "4", 4)
    assert found is not None and found.layout == "RealSR" and len(found.pairs) == 3


def test_aniso_takes_the_published_pictures_of_div2krk(tmp_path: Path) -> None:
    made = jobs(PROTOCOLS["aniso"].at(2), build(tmp_path, "DIV2KRK"), 0)
    case = made[0].make()
    assert len(made) == 3 and case.vector is None and case.lr.shape == (3, 48, 64)


def test_pictures_without_pairs_are_no_data_set(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    assert recognise(tmp_path, 4) is None
    with pytest.raises(FileNotFoundError, match="--lr"):
        jobs(PROTOCOLS["paired"].at(4), tmp_path, 0)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("number", "holds 2 pictures, but .* holds 3"),
        ("name", r"other\.png has no high-resolution picture"),
        ("twice", "could both be the picture"),
    ],
)
def test_what_does_not_fit_together_is_one_sentence(
    tmp_path: Path, spoil: str, message: str
) -> None:
    build(tmp_path, "LR and HR plain")
    lr, hr = tmp_path / "LR", tmp_path / "gt"
    if spoil == "number":
        (lr / "2.png").unlink()
    elif spoil == "name":
        (lr / "2.png").rename(lr / "other.png")
    else:
        (lr / "2.png").rename(lr / "3x4.png")
    with pytest.raises(PairError, match=message) as caught:
        match(lr, hr)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("height", "width"), [(96, 132), (92, 128), (48, 64)])
def test_a_truth_of_another_size_is_named(tmp_path: Path, height: int, width: int) -> None:
    build(tmp_path, "LR and HR plain", range(1, 2))
    save(tmp_path / "gt" / "1.png", height, width)
    (job,) = jobs(PROTOCOLS["paired"].at(4), tmp_path, 0)
    with pytest.raises(CaseError, match=f"128x96 at x4, but .* is {width}x{height}"):
        job.make()


def test_rows_that_the_scale_does_not_divide_are_left_out(tmp_path: Path) -> None:
    build(tmp_path, "LR and HR plain", range(1, 2))
    save(tmp_path / "gt" / "1.png", 99, 130)
    (job,) = jobs(PROTOCOLS["paired"].at(4), tmp_path, 0)
    hr = job.make().hr
    assert hr is not None and hr.shape == (3, 96, 128)


@pytest.mark.parametrize("names", [("box1", "box2"), ("max1", "max2"), ("0x0", "0x1", "1x0")])
def test_equal_names_are_pairs_whatever_they_look_like(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    for name in names:
        save(tmp_path / "hr" / f"{name}.png", 96, 128)
        save(tmp_path / "lr" / f"{name}.png", 24, 32)
    pairs = match(tmp_path / "lr", tmp_path / "hr")
    assert [(pair.lr.name, pair.hr.name) for pair in pairs] == [(f"{n}.png",) * 2 for n in names]


@pytest.mark.parametrize(
    ("lr", "hr"),
    [
        (("box1x4", "box2x4"), ("box1", "box2")),
        (("scene-sr1x4", "scene-sr2x4"), ("scene-sr1", "scene-sr2")),
        (("view_lr1", "view_lr2"), ("view_hr1", "view_hr2")),
        (("s_lr1_x4", "s_lr2_x4"), ("s_lr1", "s_lr2")),
        (("a_LR4", "b_LR4"), ("a_HR", "b_HR")),
    ],
)
def test_no_more_is_taken_off_names_than_it_takes(
    tmp_path: Path, lr: tuple[str, ...], hr: tuple[str, ...]
) -> None:
    for name in hr:
        save(tmp_path / "hr" / f"{name}.png", 96, 128)
    for name in lr:
        save(tmp_path / "lr" / f"{name}.png", 24, 32)
    pairs = match(tmp_path / "lr", tmp_path / "hr")
    assert [(pair.lr.stem, pair.hr.stem) for pair in pairs] == list(zip(lr, hr, strict=True))


def test_of_several_tracks_none_is_chosen_in_silence(tmp_path: Path) -> None:
    build(tmp_path, "NTIRE mild")
    for number in range(1, 4):
        save(tmp_path / f"DIV2K_valid_LR_wild/080{number}x4w1.png", 24, 32, number)
    with pytest.raises(PairError, match=r"several tracks.*mild.*wild.*--lr"):
        recognise(tmp_path, 4)


def test_what_has_no_pictures_is_passed_over(tmp_path: Path) -> None:
    build(tmp_path, "RealSR")
    for path in (tmp_path / "Canon" / "Test" / "4").glob("*_LR4.png"):
        path.unlink()
    found = recognise(tmp_path, 4)
    assert found is not None and len(found.pairs) == 3
    assert all("Nikon" in str(pair.hr) for pair in found.pairs)
    plain = build(tmp_path / "plain", "LR and HR plain")
    (plain / "LR_bicubic" / "X4").mkdir(parents=True)
    found = recognise(plain, 4)
    assert found is not None and {pair.lr.parent.name for pair in found.pairs} == {"LR"}


def test_a_folder_without_pictures_is_named(tmp_path: Path) -> None:
    build(tmp_path, "LR and HR plain")
    empty = tmp_path / "empty"
    empty.mkdir()
    for lr, hr in ((empty, tmp_path / "gt"), (tmp_path / "LR", empty)):
        with pytest.raises(PairError, match=r"no picture in .*empty"):
            match(lr, hr)
