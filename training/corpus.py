"""Folders of pictures as a source of random high-resolution crops."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sr_cli.images.discovery import find_pictures

Picture = NDArray[np.uint8]


class CorpusError(Exception):
    """There is nothing to train or validate on; the message says why."""


@dataclass(frozen=True)
class Corpus:
    """Decoded pictures in memory, with what was left out."""

    pictures: tuple[Picture, ...]
    """``(H, W, 3)`` each."""
    names: tuple[str, ...]
    unreadable: int
    too_small: int

    @property
    def megapixels(self) -> float:
        """Pixels in all, in millions."""
        return sum(p.shape[0] * p.shape[1] for p in self.pictures) / 1e6


def read_corpus(folders: Iterable[Path], smallest: int) -> Corpus:
    """Decode every picture below some folders.

    Args:
        folders: Searched recursively.
        smallest: Pictures with a side shorter than this are left out and counted.

    Raises:
        CorpusError: No usable picture was found.
    """
    folders = list(folders)
    pictures: list[Picture] = []
    names: list[str] = []
    unreadable = too_small = 0
    for folder in folders:
        if not folder.is_dir():
            raise CorpusError(f"{folder} is not a folder. Name a folder of photographs.")
        for path in find_pictures(folder, recursive=True):
            try:
                with Image.open(path) as image:
                    picture = np.asarray(image.convert("RGB"))
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
                unreadable += 1
                continue
            if min(picture.shape[:2]) < smallest:
                too_small += 1
                continue
            pictures.append(picture)
            names.append(path.name)
    if not pictures:
        where = ", ".join(str(f) for f in folders)
        raise CorpusError(
            f"No usable picture in {where} ({unreadable} unreadable, {too_small} smaller than "
            f"{smallest} pixels). Training needs photographs, larger than a crop."
        )
    return Corpus(tuple(pictures), tuple(names), unreadable, too_small)


class Cropper:
    """Draws random crops, flipped and turned, every pixel of the corpus as likely as any other."""

    def __init__(self, pictures: Sequence[Picture], generator: torch.Generator) -> None:
        self.pictures = pictures
        self.generator = generator
        areas = torch.tensor([p.shape[0] * p.shape[1] for p in pictures], dtype=torch.float64)
        self.weights = areas / areas.sum()

    def __call__(self, batch: int, size: int) -> Tensor:
        """``(batch, 3, size, size)`` uint8."""
        chosen = torch.multinomial(self.weights, batch, replacement=True, generator=self.generator)
        return torch.stack([self._crop(self.pictures[int(i)], size) for i in chosen])

    def _crop(self, picture: Picture, size: int) -> Tensor:
        height, width = picture.shape[:2]
        top = self._below(height - size + 1)
        left = self._below(width - size + 1)
        crop = picture[top : top + size, left : left + size]
        turn = self._below(8)
        if turn & 1:
            crop = crop[::-1]
        if turn & 2:
            crop = crop[:, ::-1]
        if turn & 4:
            crop = crop.transpose(1, 0, 2)
        return torch.from_numpy(np.ascontiguousarray(crop.transpose(2, 0, 1)))

    def _below(self, limit: int) -> int:
        return int(torch.randint(limit, (), generator=self.generator))
