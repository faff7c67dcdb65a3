"""Folders of pictures as one long row of pixels, in memory, mapped from disk or on the device."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFile
from torch import Tensor

from sr_cli.images import MAX_PIXELS, headers
from sr_cli.images.discovery import find_pictures
from sr_cli.images.quiet import quiet
from sr_cli.images.samples import deep_gray
from sr_cli.images.transparency import bleed
from sr_cli.inference.memory import free_memory
from sr_cli.temporary import mapped
from training.journal import LOG_NAME

Picture = NDArray[np.uint8]

AT_ONCE = 32
"""Pictures that are decoded side by side at most."""
MADE = ("strips", "degradation", "release")
"""Folders of pictures that a run makes in its own: of results, and of what is held out."""
BYTES_AT_ONCE = 400_000_000
"""Of their pixels, unless one alone has more."""


class CorpusError(Exception):
    """There is nothing to train or validate on; the message says why."""


@dataclass(frozen=True)
class Corpus:
    """Decoded pictures, with what was left out."""

    pixels: Tensor
    """``(P, 3)`` uint8: all pictures, row after row, one after the other."""
    shapes: tuple[tuple[int, int], ...]
    """Height and width of each picture."""
    offsets: tuple[int, ...]
    """Where in `pixels` each picture begins."""
    names: tuple[str, ...]
    spoiled: tuple[str, ...]
    """Names of files, and of folders within, that cannot be read."""
    too_small: int
    mapped: bool = False
    """Whether the pixels are in a file rather than in memory."""
    sizes: tuple[float, ...] = ()
    """Side of each picture over that of its file; empty if all are as they were."""
    others: int = 0
    """Pictures of kinds that are not read."""

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """The pictures ``(H, W, 3)``; views while the pixels are not on a GPU."""
        pixels = self.pixels.cpu().numpy()
        return tuple(
            pixels[start : start + height * width].reshape(height, width, 3)
            for start, (height, width) in zip(self.offsets, self.shapes, strict=True)
        )

    @property
    def unreadable(self) -> int:
        """How many files, and folders within, cannot be read."""
        return len(self.spoiled)

    @property
    def files(self) -> int:
        """Pictures, each counted once however many sizes of it there are."""
        return self.sizes.count(1.0) if self.sizes else len(self.names)

    @property
    def megapixels(self) -> float:
        """Pixels in all, in millions."""
        return sum(height * width for height, width in self.shapes) / 1e6

    def near(self, device: torch.device) -> Corpus:
        """The same corpus in the device's own memory, if it takes no more than a quarter of it."""
        if device.type != "cuda" or self.mapped:
            return self
        free, _ = torch.cuda.mem_get_info(device)
        return replace(self, pixels=self.pixels.to(device)) if self._bytes < free / 4 else self

    @property
    def _bytes(self) -> int:
        return self.pixels.numel()


def read_corpus(
    folders: Iterable[Path],
    smallest: int,
    memory: float = math.inf,
    shrunk: Sequence[float] = (),
) -> Corpus:
    """Decode every picture below some folders.

    Args:
        folders: Searched recursively.
        smallest: Pictures with a side shorter than this are left out and counted.
        shrunk: Each picture is there at these fractions of its sides, too, where that is not
            shorter than ``smallest``.
        memory: Gigabytes to keep in memory; a larger corpus, or one that takes more than half of
            what is free, goes to a temporary file that is mapped and vanishes with the process.

    Raises:
        CorpusError: No usable picture was found, or there is no room for the temporary file.
    """
    folders = list(folders)
    found: list[tuple[Path, tuple[int, int]]] = []
    spoiled: list[str] = []
    too_small = 0
    closed: list[OSError] = []
    others: list[Path] = []
    for path in _paths(folders, closed.append, others.append):
        try:
            with quiet(MAX_PIXELS), _opened(path) as image:
                width, height = image.size
        except Exception:  # decoders that meet damaged bytes raise almost anything
            spoiled.append(path.name)
            continue
        if min(width, height) < smallest:
            too_small += 1
        else:
            found.append((path, (height, width)))
    spoiled += [str(error.filename or error) for error in closed]
    copies = {path: _copies(shape, shrunk, smallest) for path, shape in found}
    size = sum(map(_bytes, copies.values()))
    mapped = size > min(memory * 1e9, free_memory("cpu") / 2)
    pixels = _mapped_file(size) if mapped else np.empty(size, np.uint8)
    names: list[str] = []
    shapes: list[tuple[int, int]] = []
    sizes: list[float] = []
    offsets: list[int] = []
    end = 0
    for path, pictures in _decoded(copies):
        if not pictures:
            spoiled.append(path.name)
            continue
        for (fraction, shape), picture in zip(copies[path], pictures, strict=True):
            pixels[3 * end : 3 * end + picture.size] = picture.reshape(-1)
            names.append(path.name)
            shapes.append(shape)
            sizes.append(fraction)
            offsets.append(end)
            end += picture.size // 3
    if not names:
        where = ", ".join(str(f) for f in folders)
        of_others = f", {len(others)} of kinds that are not read" if others else ""
        raise CorpusError(
            f"No usable picture in {where} ({len(spoiled)} unreadable, {too_small} smaller than "
            f"{smallest} pixels{of_others}). Training needs photographs, larger than a crop."
        )
    flat = torch.from_numpy(pixels[: 3 * end]).view(-1, 3)
    return Corpus(
        flat,
        tuple(shapes),
        tuple(offsets),
        tuple(names),
        tuple(spoiled),
        too_small,
        mapped,
        tuple(sizes),
        len(others),
    )


def in_both(folders: Iterable[Path], others: Iterable[Path]) -> int:
    """How many pictures are found in both, by whatever name.

    Raises:
        CorpusError: One of them is no folder.
    """
    first, second = (
        {path.resolve() for path in _paths(some, _ignored, _ignored)} for some in (folders, others)
    )
    return len(first & second)


def _ignored(_: object) -> None:
    """What was told before."""


def _copies(
    shape: tuple[int, int], shrunk: Sequence[float], smallest: int
) -> list[tuple[float, tuple[int, int]]]:
    """The sizes of a picture that are large enough, its own first."""
    height, width = shape
    copies = [(1.0, shape)]
    for fraction in shrunk:
        small = round(height * fraction), round(width * fraction)
        if min(small) >= smallest:
            copies.append((fraction, small))
    return copies


def _decoded(
    copies: Mapping[Path, Sequence[tuple[float, tuple[int, int]]]],
) -> Iterator[tuple[Path, list[Picture]]]:
    """Every file with its picture at all sizes, none if it cannot be read; in threads."""
    with ThreadPoolExecutor() as threads:
        for some in _batches({path: _bytes(all_) for path, all_ in copies.items()}):
            # For all of them: threads that ask each for itself wait for one another.
            with quiet(MAX_PIXELS):
                pictures = list(threads.map(lambda p: _read(p, copies[p]), some))
            yield from zip(some, pictures, strict=True)


def _batches(sizes: Mapping[Path, int]) -> Iterator[list[Path]]:
    """Files to decode side by side, by their bytes: fast threads would fill the memory."""
    some: list[Path] = []
    total = 0
    for path, size in sizes.items():
        if some and (len(some) == AT_ONCE or total + size > BYTES_AT_ONCE):
            yield some
            some, total = [], 0
        some.append(path)
        total += size
    if some:
        yield some


def _bytes(copies: Iterable[tuple[float, tuple[int, int]]]) -> int:
    return 3 * sum(height * width for _, (height, width) in copies)


def _read(path: Path, copies: Sequence[tuple[float, tuple[int, int]]]) -> list[Picture]:
    try:
        with _opened(path) as image:
            whole = _visible(_eight_bits(image))
    except Exception:  # as above
        return []
    sizes = [(width, height) for _, (height, width) in copies]
    return [
        np.asarray(whole if size == whole.size else whole.resize(size, Image.Resampling.LANCZOS))
        for size in sizes
    ]


@contextmanager
def _opened(path: Path) -> Iterator[ImageFile.ImageFile]:
    """By the decoders of `sr_cli.images` and within its limits: others, such as EPS, run programs.

    Raises:
        PictureError: No decoder knows the file, or its header claims what cannot be or is too much.
    """
    with path.open("rb") as stream:
        image = headers.opened(stream)
        headers.check_header(image, MAX_PIXELS, path.stat().st_size)
        yield image


def _eight_bits(image: ImageFile.ImageFile) -> Image.Image:
    """Gray of more bits, which Pillow would cut off at white, as 8; anything else as it is.

    Raises:
        PictureError: Nobody knows which of its numbers is white.
    """
    levels = deep_gray(image)
    if levels is None:
        return image
    return Image.fromarray((levels / 257).round().astype(np.uint8))


def _visible(image: Image.Image) -> Image.Image:
    """In RGB, with nothing of what transparency hides."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = np.asarray(image.convert("RGBA"), np.float32)
    seen = bleed(rgba[..., :3], rgba[..., 3] / np.float32(255))
    return Image.fromarray(seen.round().astype(np.uint8))


def _paths(
    folders: Iterable[Path],
    unreadable: Callable[[OSError], None],
    others: Callable[[Path], None],
) -> Iterator[Path]:
    for folder in folders:
        if not folder.is_dir():
            raise CorpusError(f"{folder} is not a folder. Name a folder of photographs.")
        for path in find_pictures(folder, recursive=True, unreadable=unreadable, others=others):
            if not (path.parent.name in MADE and (path.parent.parent / LOG_NAME).is_file()):
                yield path


def _mapped_file(size: int) -> Picture:
    """``size`` bytes of a file that nobody else sees."""
    try:
        return np.frombuffer(mapped(size), np.uint8)
    except OSError as error:
        raise CorpusError(
            f"The decoded pictures take {size / 1e9:.1f} GB and {tempfile.gettempdir()} cannot "
            f"hold them ({error.strerror}). Point TMPDIR to a larger disk, or raise data.memory."
        ) from None
