"""Ready data sets: which low-resolution picture belongs to which high-resolution one.

Recognised below a folder, at the scale that is asked for:

- DIV2KRK (KernelGAN): ``gt/img_1_gt.png`` and ``lr_x4/im_1.png``
- DIV2K and NTIRE: ``DIV2K_valid_HR/0801.png`` and ``DIV2K_valid_LR_bicubic/X4/0801x4.png``, or
  ``DIV2K_valid_LR_mild/0801x4m.png`` (``difficult``, ``wild``: x4; ``DIV2K_valid_LR_x8``: x8)
- RealSR: ``Canon/Test/4/Canon_001_HR.png`` and ``Canon_001_LR4.png``, cameras together; also the
  innermost folder alone
- others: ``HR`` or ``GT`` beside ``LR``, ``LR_x4``, ``X4`` or ``LR_bicubic/X4``, case ignored;
  ``X4/GT`` beside ``X4/LR``
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sr_cli.images import find_pictures


class PairError(Exception):
    """A data set whose pictures do not fit together; the message is one sentence."""


@dataclass(frozen=True)
class Pair:
    """A picture to restore and its truth."""

    name: str
    lr: Path
    hr: Path


@dataclass(frozen=True)
class ReadySet:
    """A recognised data set."""

    layout: str
    """``DIV2KRK``, ``RealSR``, ``NTIRE`` or ``LR and HR``."""
    pairs: tuple[Pair, ...]


_TRUTH = frozenset({"hr", "gt", "ground_truth", "target"})
_AFFIXES = re.compile(
    r"(^(img|im|lr|hr|gt)[_-](?=\d))"
    r"|([_-]?x\d+(m|d|w\d?)?$)|([_-](gt|hr|lr\d*|sr)([_-]?x?\d+)?$)",
    re.IGNORECASE,
)
"""What names of the two pictures of a pair differ in: role, scale and track."""
_SCALE = re.compile(r"[_-]?x\d+(m|d|w\d?)?$", re.IGNORECASE)
_ROLE = re.compile(r"[_-](gt|hr|lr|sr)(?=\d*$)", re.IGNORECASE)


def recognise(folder: Path, scale: int) -> ReadySet | None:
    """The pairs of a data set in a known layout, or None.

    Args:
        folder: Its root.
        scale: Of the low-resolution pictures that are wanted.

    Raises:
        PairError: It is a known layout, but its pictures do not fit together.
    """
    for layout, find in (("RealSR", _realsr), ("DIV2KRK", _div2krk), ("NTIRE", _ntire)):
        pairs = find(folder, scale)
        if pairs:
            return ReadySet(layout, pairs)
    folders = _plain_folders(folder, scale)
    return ReadySet("LR and HR", match(*folders)) if folders else None


def match(lr_folder: Path, hr_folder: Path) -> tuple[Pair, ...]:
    """Pair the pictures of two folders by their names: equal ones, or without role and scale.

    ``0801x4.png`` belongs to ``0801.png``, ``im_7.png`` to ``img_7_gt.png``, ``a_LR4.png`` to
    ``a_HR.png``.  Of names no more is taken off than it takes.

    Raises:
        PairError: There are none, not as many here as there, or a name has no counterpart.
    """
    lr, hr = _pictures(lr_folder), _pictures(hr_folder)
    if len(lr) != len(hr):
        raise PairError(
            f"{lr_folder} holds {len(lr)} pictures, but {hr_folder} holds {len(hr)}: every "
            "low-resolution picture needs one high-resolution picture."
        )
    return _by_key(lr, hr)


def _by_key(lr: Sequence[Path], hr: Sequence[Path]) -> tuple[Pair, ...]:
    ways = ((_plain, _plain), (_unscaled, _plain), (_without_role, _without_role))
    of_lr, of_hr = next((way for way in ways if _one_to_one(lr, hr, *way)), (_key, _key))
    truths = _keyed(hr, of_hr)
    inputs = _keyed(lr, of_lr)
    for key, path in inputs.items():
        if key not in truths:
            raise PairError(f"{path} has no high-resolution picture of a matching name.")
    for key, path in truths.items():
        if key not in inputs:
            raise PairError(f"{path} has no low-resolution picture of a matching name.")
    return tuple(Pair(truths[key].name, inputs[key], truths[key]) for key in sorted(inputs))


def _one_to_one(
    lr: Sequence[Path],
    hr: Sequence[Path],
    of_lr: Callable[[Path], str],
    of_hr: Callable[[Path], str],
) -> bool:
    inputs, truths = {of_lr(path) for path in lr}, {of_hr(path) for path in hr}
    return inputs == truths and len(inputs) == len(lr) == len(hr)


def _keyed(paths: Iterable[Path], key_of: Callable[[Path], str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in paths:
        key = key_of(path)
        if key in found:
            raise PairError(f"{found[key]} and {path} could both be the picture '{key}'.")
        found[key] = path
    return found


def _key(path: Path) -> str:
    """A name without role, scale and track."""
    stem, before = path.stem, None
    while before != stem:
        before, stem = stem, _AFFIXES.sub("", stem)
    return _sortable(stem)


def _plain(path: Path) -> str:
    return _sortable(path.stem)


def _unscaled(path: Path) -> str:
    return _sortable(_SCALE.sub("", path.stem))


def _without_role(path: Path) -> str:
    """A name without scale and role, but with its number: ``view_lr1`` is ``view1``."""
    return _sortable(_ROLE.sub("", _SCALE.sub("", path.stem)))


def _sortable(stem: str) -> str:
    """Numbers sort as numbers."""
    return stem.zfill(8) if stem.isdecimal() else stem.lower()


def _pictures(folder: Path) -> list[Path]:
    pictures = find_pictures(folder, recursive=False)
    if not pictures:
        raise PairError(f"There is no picture in {folder}.")
    return pictures


def _folders(folder: Path) -> dict[str, Path]:
    """Sub-folders by their names in lower case."""
    return {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_dir()}


def _div2krk(folder: Path, scale: int) -> tuple[Pair, ...]:
    inside = _folders(folder)
    lr = inside.get(f"lr_x{scale}")
    if "gt" not in inside or lr is None:
        return ()
    return match(lr, inside["gt"])


def _realsr(folder: Path, scale: int) -> tuple[Pair, ...]:
    places = [*folder.glob(f"*/Test/{scale}"), folder / "Test" / str(scale), folder]
    pairs: list[Pair] = []
    for place in sorted(place for place in places if place.is_dir()):
        pictures = find_pictures(place, recursive=False)
        hr = [p for p in pictures if p.stem.lower().endswith("_hr")]
        lr = [p for p in pictures if p.stem.lower().endswith(f"_lr{scale}")]
        if hr and lr:
            pairs += _by_key(lr, hr)
    return tuple(pairs)


def _ntire(folder: Path, scale: int) -> tuple[Pair, ...]:
    inside = _folders(folder)
    for name, truth in inside.items():
        if not name.endswith("_hr"):
            continue
        tracks = list(_tracks(inside, name.removesuffix("_hr"), scale))
        if len(tracks) > 1:
            raise PairError(
                f"{folder} holds several tracks at x{scale}: {', '.join(map(str, tracks))}. Name "
                f"one with --lr, and {truth} as the data."
            )
        if tracks:
            return match(tracks[0], truth)
    return ()


def _tracks(inside: dict[str, Path], stem: str, scale: int) -> Iterator[Path]:
    """Folders of low-resolution pictures that belong to ``stem_HR``."""
    for name, path in inside.items():
        if not name.startswith(f"{stem}_lr_"):
            continue
        track = name.removeprefix(f"{stem}_lr_")
        by_scale = _folders(path).get(f"x{scale}")
        if by_scale is not None:
            yield by_scale
        elif track == f"x{scale}" or (scale == 4 and track in ("mild", "difficult", "wild")):
            yield path


def _plain_folders(folder: Path, scale: int) -> tuple[Path, Path] | None:
    inside = _folders(folder)
    if f"x{scale}" in inside:
        below = _folders(inside[f"x{scale}"])
        truth = next((path for name, path in below.items() if name in _TRUTH), None)
        if truth is not None and "lr" in below:
            return below["lr"], truth
    truth = next((path for name, path in inside.items() if name in _TRUTH), None)
    if truth is None:
        return None
    for name in (f"lr_x{scale}", f"lrx{scale}", f"lr{scale}", f"x{scale}", "lr_bicubic", "lr"):
        if name in inside:
            lr = _folders(inside[name]).get(f"x{scale}", inside[name])
            if find_pictures(lr, recursive=False):
                return lr, truth
    return None
