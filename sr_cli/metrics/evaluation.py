"""Running benchmarks over folders of pictures and averaging what was measured."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from sr_cli.degradation.bicubic import imresize
from sr_cli.degradation.layout import Layout
from sr_cli.degradation.operators import quantise
from sr_cli.images import endings_of, find_pictures, read, visible_rgb
from sr_cli.metrics import fidelity, niqe
from sr_cli.metrics.blur import kernel_mse, kernel_of, lr_psnr
from sr_cli.metrics.estimation import Skill, skills
from sr_cli.metrics.figures import FIGURES
from sr_cli.metrics.pairs import Pair, match, recognise
from sr_cli.metrics.protocols import Benchmark, Case, Condition, blur_and_shrink

Restore = Callable[[Case], tuple[Tensor, Tensor | None]]
"""From a case to the picture ``(3, H, W)`` and the degradation vector, if there is one.  A method
looks at `Case.lr` alone, unless it is there to show what the truth would be worth."""


class Distance(Protocol):
    """From pictures ``(N, 3, H, W)`` and the truth to ``(N,)``, lower is closer."""

    smallest: int
    """Least side of a picture, pixels."""

    def __call__(self, sr: Tensor, hr: Tensor, /) -> Tensor: ...


_READY = ("aniso", "paired")
"""Protocols that take the low-resolution pictures of a ready data set."""


class CaseError(Exception):
    """A picture that cannot be measured; the message is one sentence that names it."""


@dataclass(frozen=True)
class Row:
    """What one method reached on one case."""

    method: str
    picture: str
    condition: str
    repeat: int
    """Which of its degradations under the condition, from 0."""
    values: Mapping[str, float]
    """By the names of `FIGURES`."""

    @property
    def case(self) -> tuple[str, str, int]:
        """What it was reached on: the same of every method."""
        return self.picture, self.condition, self.repeat


@dataclass(frozen=True)
class Measures:
    """What to measure beside PSNR and SSIM on the Y channel.

    Raises:
        ValueError: A distance has another name than those of `FIGURES`, so nothing would show it.
    """

    rgb: bool = False
    distances: Mapping[str, Distance] = field(default_factory=dict)
    """By the names of `FIGURES`."""
    niqe: bool = False

    def __post_init__(self) -> None:
        if unknown := [key for key in self.distances if key not in FIGURES]:
            raise ValueError(f"{', '.join(unknown)}: not among sr_cli.metrics.figures.FIGURES.")


@dataclass(frozen=True)
class Job:
    """A case that is made when its turn comes."""

    name: str
    make: Callable[[], Case]
    """Raises `CaseError` or `sr_cli.images.PictureError`."""
    files: tuple[Path, ...]
    """What it is made of."""
    is_made: bool = False
    """Whether its low-resolution picture is made of the other."""


def jobs(
    benchmark: Benchmark,
    folder: Path,
    seed: int,
    repeats: int = 1,
    lr_folder: Path | None = None,
) -> list[Job]:
    """All cases of a folder, picture by picture.

    Args:
        benchmark: How they are made.
        folder: High-resolution pictures, or the root of a ready data set; see
            `sr_cli.metrics.pairs`.
        seed: Of the first degradation of each picture; repeats count up from it.
        repeats: Degradations of every picture; one where nothing is drawn.
        lr_folder: Low-resolution pictures to use instead of making any.

    Raises:
        FileNotFoundError: There is no picture in the folder.
        PairError: Low- and high-resolution pictures do not fit together.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}.")
    if benchmark.protocol == "no-reference":
        paths = _pictures(folder, benchmark.scale)
        return [Job(path.name, partial(_alone, path), (path,)) for path in paths]
    pairs = _pairs(benchmark, folder, lr_folder)
    if pairs:
        return [
            Job(pair.name, partial(_paired, pair, benchmark), (pair.lr, pair.hr)) for pair in pairs
        ]
    return [
        Job(path.name, partial(_made, path, benchmark, condition, seed, repeat), (path,), True)
        for path in _pictures(folder, benchmark.scale)
        for condition in benchmark.conditions
        for repeat in range(repeats if condition.drawn else 1)
    ]


def data_digest(cases: Iterable[Job]) -> str:
    """SHA-256 of the contents of all files that cases are made of: who gets the same has the same.

    Names and folders do not count, and neither do files that cannot be read.
    """
    contents: set[bytes] = set()
    for path in dict.fromkeys(path for case in cases for path in case.files):
        with suppress(OSError):
            contents.add(hashlib.sha256(path.read_bytes()).digest())
    return hashlib.sha256(b"".join(sorted(contents))).hexdigest()


def _pictures(folder: Path, scale: int) -> list[Path]:
    others: list[Path] = []
    paths = find_pictures(folder, recursive=False, others=others.append)
    if not paths and others:
        raise FileNotFoundError(
            f"The pictures in {folder} are of kinds that are not read ({endings_of(others)}); "
            "convert them first."
        )
    if not paths:
        ready = ""
        if found := recognise(folder, scale):
            ready = (
                f" itself, which is a data set of pairs ({found.layout}): measure it with "
                f"--protocol {' or '.join(_READY)}, or name its folder of high-resolution pictures"
            )
        raise FileNotFoundError(f"There is no picture in {folder}{ready}.")
    return paths


def _pairs(benchmark: Benchmark, folder: Path, lr_folder: Path | None) -> tuple[Pair, ...]:
    if lr_folder is not None:
        if not lr_folder.is_dir():
            raise FileNotFoundError(f"There is no folder {lr_folder}.")
        return match(lr_folder, folder)
    found = recognise(folder, benchmark.scale) if benchmark.protocol in _READY else None
    if found is None and not benchmark.conditions:
        raise FileNotFoundError(
            f"{folder} holds no pairs at x{benchmark.scale} in a layout that is known: name the "
            "folder of low-resolution pictures with --lr."
        )
    return found.pairs if found else ()


def picture_tensor(path: Path) -> Tensor:
    """A picture of a file, ``(3, H, W)`` in [0, 1], with nothing of what its transparency hides."""
    return _seen(path)[0]


def _seen(path: Path) -> tuple[Tensor, tuple[str, ...]]:
    """`picture_tensor`, and what there is to say of the file."""
    picture = read(path)
    rgb = torch.from_numpy(visible_rgb(picture).copy()).permute(2, 0, 1)
    return rgb, () if picture.alpha is None else (f"{path}: its transparency is left out",)


def _alone(path: Path) -> Case:
    lr, notes = _seen(path)
    return Case(path.name, lr, None, notes=notes)


def read_pair(pair: Pair, scale: int) -> tuple[Tensor, Tensor]:
    """Both pictures of a pair, ``(3, h, w)`` and ``(3, scale*h, scale*w)`` in [0, 1].

    Raises:
        CaseError: Their sizes do not fit together.
        PictureError: One cannot be read.
    """
    return _fitting(pair, picture_tensor(pair.lr), picture_tensor(pair.hr), scale)


def _fitting(pair: Pair, lr: Tensor, hr: Tensor, scale: int) -> tuple[Tensor, Tensor]:
    """Both pictures, the truth cut to what the scale divides; raises `CaseError`."""
    height, width = (side * scale for side in lr.shape[-2:])
    over = hr.shape[-2] - height, hr.shape[-1] - width
    # Some sets keep the rows and columns of the truth that the scale does not divide.
    if not all(0 <= extra < scale for extra in over):
        raise CaseError(
            f"{pair.lr} is {_size(lr)}, which makes {width}x{height} at x{scale}, but "
            f"{pair.hr} is {_size(hr)}."
        )
    return lr, hr[:, :height, :width]


def _paired(pair: Pair, benchmark: Benchmark) -> Case:
    (lr, of_lr), (hr, of_hr) = _seen(pair.lr), _seen(pair.hr)
    lr, hr = _fitting(pair, lr, hr, benchmark.scale)
    _check_size(pair.name, hr.shape[-2], hr.shape[-1], _smallest(benchmark))
    return Case(pair.name, lr, hr, notes=of_lr + of_hr)


def _made(path: Path, benchmark: Benchmark, condition: Condition, seed: int, repeat: int) -> Case:
    hr, notes = _seen(path)
    height, width = (side // benchmark.scale * benchmark.scale for side in hr.shape[-2:])
    smallest = max(_smallest(benchmark), condition.smallest)
    _check_size(path.name, hr.shape[-2], hr.shape[-1], smallest)
    case = condition.degrade(path.name, hr[:, :height, :width], seed + repeat)
    return replace(case, repeat=repeat, notes=notes)


def _smallest(benchmark: Benchmark) -> int:
    """The smallest side that figures can be computed of."""
    needed = 2 * benchmark.border + fidelity.WINDOW
    return -(-needed // benchmark.scale) * benchmark.scale


def _check_size(name: str, height: int, width: int, smallest: int) -> None:
    if min(height, width) < smallest:
        raise CaseError(
            f"{name} is {width}x{height}: this protocol, with its border, needs at least "
            f"{smallest}x{smallest}."
        )


def _size(picture: Tensor) -> str:
    return f"{picture.shape[-1]}x{picture.shape[-2]}"


def bicubic(scale: int) -> Restore:
    """The method that every other has to beat."""

    def restore(case: Case) -> tuple[Tensor, Tensor | None]:
        return imresize(case.lr, scale), None

    return restore


def measure(
    case: Case,
    methods: Mapping[str, Restore],
    benchmark: Benchmark,
    measures: Measures | None = None,
    layouts: Mapping[str, Layout | None] | None = None,
    keep: Callable[[str, Tensor], None] | None = None,
    step: Callable[[], None] | None = None,
) -> tuple[list[Row], dict[str, Tensor]]:
    """All methods on one case.

    Args:
        case: What to restore.
        methods: By name.
        benchmark: How to score.
        measures: What to measure beside PSNR and SSIM of luma.
        layouts: What the numbers of the methods' vectors are, by method; those that stand for a
            blur kernel are compared with the true one.
        keep: Called with every method's name and picture ``(3, H, W)``.
        step: Called after every method.

    Returns:
        The rows, and the vectors that methods estimated by the methods' names.

    Raises:
        CaseError: A method's picture has another size than the truth, or is too small to be
            measured.
    """
    rows: list[Row] = []
    vectors: dict[str, Tensor] = {}
    for name, restore in methods.items():
        picture, vector = restore(case)
        if keep:
            keep(name, picture)
        values = _values(case, picture, benchmark, measures or Measures())
        if vector is not None:
            vectors[name] = vector
            values |= _blur_values(case, vector, (layouts or {}).get(name), benchmark)
        rows.append(Row(name, case.name, case.condition, case.repeat, values))
        if step:
            step()
    return rows, vectors


def _values(
    case: Case, picture: Tensor, benchmark: Benchmark, measures: Measures
) -> dict[str, float]:
    sr, values = picture.unsqueeze(0), {}
    if case.hr is not None:
        if picture.shape != case.hr.shape:
            raise CaseError(f"{case.name}: {_size(picture)} was made, not {_size(case.hr)}.")
        hr, border, rounded = case.hr.unsqueeze(0), benchmark.border, benchmark.rounded_luma
        values["psnr_y"] = float(fidelity.psnr_y(sr, hr, border, rounded=rounded))
        values["ssim_y"] = float(fidelity.ssim_y(sr, hr, border, rounded=rounded))
        if measures.rgb:
            values["psnr_rgb"] = float(fidelity.psnr_rgb(sr, hr, border))
            values["ssim_rgb"] = float(fidelity.ssim_rgb(sr, hr, border))
        for key, distance in measures.distances.items():
            if min(picture.shape[-2:]) < (side := distance.smallest):
                raise CaseError(f"{case.name}: {key} needs pictures of {side}x{side}.")
            values[key] = float(distance(quantise(sr), hr))
    if measures.niqe:
        if min(picture.shape[-2:]) < niqe.BLOCK:
            raise CaseError(f"{case.name}: NIQE needs results of {niqe.BLOCK}x{niqe.BLOCK}.")
        with suppress(niqe.FlatError):  # it has no NIQE, but everything else
            values["niqe_own"] = niqe.niqe_own(quantise(picture))
    return values


def _blur_values(
    case: Case, vector: Tensor, layout: Layout | None, benchmark: Benchmark
) -> dict[str, float]:
    """RealDAN's Table 4, where an estimate is a kernel and blur is all that happened."""
    if case.kernel is None or case.hr is None or benchmark.protocol == "blur-noise":
        return {}
    kernel = kernel_of(layout, vector, case.kernel.shape[-1])
    if kernel is None:
        return {}
    again = blur_and_shrink(case.hr, kernel, benchmark.scale)
    return {"kernel_mse": kernel_mse(kernel, case.kernel), "lr_psnr": lr_psnr(again, case.lr)}


Means = dict[str, dict[str, float]]
"""Means by method and by the names of `FIGURES`."""


def averages(rows: Iterable[Row]) -> Means:
    """Means over cases by method.

    A case of which any method's value is infinite, or that a method has no value of (of other cases
    it has), is in no method's mean, or means would be of different cases.  Where that leaves none
    but infinite ones, these count; where a method lacks one or another in every case, there is no
    mean.
    """
    rows = list(rows)
    means: Means = {row.method: {} for row in rows}
    for key in FIGURES:
        found = [row for row in rows if key in row.values]
        cases = _comparable(found, key)
        for method, own in _grouped(found, "method").items():
            if values := [row.values[key] for row in own if row.case in cases]:
                means[method][key] = sum(values) / len(values)
    return means


def by_condition(rows: Iterable[Row]) -> dict[str, Means]:
    """`averages` of every condition by itself."""
    return {name: averages(group) for name, group in _grouped(rows, "condition").items()}


def by_picture(rows: Iterable[Row]) -> dict[str, Means]:
    """`averages` of every picture by itself, over its conditions."""
    return {name: averages(group) for name, group in _grouped(rows, "picture").items()}


def _grouped(rows: Iterable[Row], attribute: str) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(getattr(row, attribute), []).append(row)
    return groups


def _comparable(rows: list[Row], key: str) -> set[tuple[str, str, int]]:
    """The cases that means are of: rows are those that have the key."""
    had = Counter(case for _, case in {(row.method, row.case) for row in rows})
    methods = len({row.method for row in rows})
    complete = {case for case, count in had.items() if count == methods}
    return complete - {row.case for row in rows if math.isinf(row.values[key])} or complete


def left_out(rows: Iterable[Row]) -> dict[str, dict[str, int]]:
    """For how many cases a method is why they are in no method's mean.

    Its value is infinite, as PSNR of equal pictures, or it has none, as a flat result has no NIQE.
    A method that has none of any case is not measured in that at all, and nobody's mean waits for
    it.

    Returns:
        By method and by the names of `FIGURES`, where there are any.
    """
    rows = list(rows)
    counts: dict[str, dict[str, int]] = {}
    for key in FIGURES:
        found = [row for row in rows if key in row.values]
        measured, cases = {row.method for row in found}, _comparable(found, key)
        for row in rows:
            out = row.method in measured and row.case not in cases
            if out and not math.isfinite(row.values.get(key, math.nan)):
                of_method = counts.setdefault(row.method, {})
                of_method[key] = of_method.get(key, 0) + 1
    return counts


@dataclass
class Findings:
    """What came out of one benchmark on one folder."""

    rows: list[Row] = field(default_factory=list)
    truths: list[Tensor] = field(default_factory=list)
    """True vectors, of the cases that have one."""
    estimates: dict[str, list[Tensor]] = field(default_factory=dict)
    """Estimated vectors of the same cases, by method."""
    cases: int = 0

    def skills(self, layouts: Mapping[str, Layout | None]) -> dict[str, tuple[Skill, ...]]:
        """What every method knows about every number, if it estimates this kind of vector."""
        found: dict[str, tuple[Skill, ...]] = {}
        for method, vectors in self.estimates.items():
            layout = layouts.get(method)
            if layout and len(vectors) == len(self.truths) and len(layout) == len(self.truths[0]):
                truth = torch.stack(self.truths)
                found[method] = skills(layout, torch.stack(vectors), truth)
        return found

    def add(self, case: Case, rows: list[Row], vectors: Mapping[str, Tensor]) -> None:
        """One more case."""
        self.cases += 1
        self.rows += rows
        if case.vector is not None:
            self.truths.append(case.vector)
            for method, vector in vectors.items():
                self.estimates.setdefault(method, []).append(vector)
