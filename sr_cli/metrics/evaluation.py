"""Running protocols over folders of pictures and averaging what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sr_cli.degradation.bicubic import imresize
from sr_cli.degradation.operators import quantise
from sr_cli.images import read
from sr_cli.images.discovery import find_pictures
from sr_cli.metrics.fidelity import psnr_y, ssim_y
from sr_cli.metrics.perceptual import PerceptualDistance
from sr_cli.metrics.protocols import Case, Protocol

Restore = Callable[[Tensor], tuple[Tensor, Tensor | None]]
"""From ``(3, h, w)`` to the picture ``(3, H, W)`` and the degradation vector, if there is one."""


@dataclass(frozen=True)
class Row:
    """What one method reached on one case."""

    method: str
    picture: str
    psnr_y: float
    """dB, 8-bit luma, RealDAN's way."""
    ssim_y: float
    lpips_squeeze: float | None


def cases(protocol: Protocol, folder: Path, seed: int, repeats: int = 1) -> Iterator[Case]:
    """The cases of a folder, picture by picture.

    Args:
        protocol: How they are made.
        folder: High-resolution pictures.
        seed: Of the first degradation of each picture; repeats count up from it.
        repeats: Degradations of every picture.

    Raises:
        FileNotFoundError: There is no picture in the folder.
        PictureError: A picture cannot be read.
    """
    paths = find_pictures(folder, recursive=False) if folder.is_dir() else []
    if not paths:
        raise FileNotFoundError(f"There is no picture in {folder}.")
    for path in paths:
        hr = torch.from_numpy(read(path).rgb.copy()).permute(2, 0, 1)
        for repeat in range(repeats):
            yield protocol.make(path.name, hr, seed + repeat)


def bicubic(scale: int) -> Restore:
    """The method that every other has to beat."""

    def restore(lr: Tensor) -> tuple[Tensor, Tensor | None]:
        return imresize(lr, scale), None

    return restore


def measure(
    case: Case,
    methods: Mapping[str, Restore],
    border: int,
    distance: PerceptualDistance | None = None,
    keep: Callable[[str, Tensor], None] | None = None,
) -> tuple[list[Row], dict[str, Tensor]]:
    """All methods on one case.

    Args:
        case: What to restore.
        methods: By name.
        border: Pixels left out on each side.
        distance: Adds ``lpips_squeeze``.
        keep: Called with every method's name and picture ``(3, H, W)``.

    Returns:
        The rows, and the vectors that methods estimated by the methods' names.
    """
    rows: list[Row] = []
    vectors: dict[str, Tensor] = {}
    hr = case.hr.unsqueeze(0)
    for name, restore in methods.items():
        picture, vector = restore(case.lr)
        if keep:
            keep(name, picture)
        sr = picture.unsqueeze(0)
        rows.append(
            Row(
                name,
                case.name,
                float(psnr_y(sr, hr, border)),
                float(ssim_y(sr, hr, border)),
                float(distance(quantise(sr), hr)) if distance else None,
            )
        )
        if vector is not None:
            vectors[name] = vector
    return rows, vectors


def averages(rows: Iterable[Row]) -> dict[str, dict[str, float]]:
    """Means over pictures by method."""
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        grouped.setdefault(row.method, []).append(row)
    means: dict[str, dict[str, float]] = {}
    for method, group in grouped.items():
        means[method] = {
            "psnr_y": _mean([r.psnr_y for r in group]),
            "ssim_y": _mean([r.ssim_y for r in group]),
        }
        distances = [r.lpips_squeeze for r in group if r.lpips_squeeze is not None]
        if distances:
            means[method]["lpips_squeeze"] = _mean(distances)
    return means


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
