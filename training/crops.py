"""Random crops of a corpus, many at once and on whatever device holds its pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from training.corpus import Corpus
from training.tensors import part, send


@dataclass(frozen=True)
class Windows:
    """Where crops lie, ``(N,)`` each, on the CPU."""

    start: Tensor
    """Index of the crop's first pixel among the corpus's."""
    width: Tensor
    """Of its picture."""
    turn: Tensor
    """0..7: which of the eight positions of a square; bits: upside down, mirrored, transposed."""

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, which: slice) -> Windows:
        return part(self, which)


@dataclass(frozen=True)
class Places:
    """Where crops lie before their size is known, ``(N,)`` each, on the CPU."""

    picture: Tensor
    """Its number."""
    down: Tensor
    """How much of the room that there is lies above, from 0 to below 1."""
    across: Tensor
    """The same to the left."""
    turn: Tensor
    """See `Windows`."""

    def __len__(self) -> int:
        return len(self.picture)


class Cropper:
    """Draws random crops, flipped and turned, a file as likely as it has pixels.

    Where a file is there at several sizes, these are as likely as each other.
    """

    def __init__(self, corpus: Corpus, generator: torch.Generator) -> None:
        self.pixels = corpus.pixels
        small = corpus.pixels.numel() <= torch.iinfo(torch.int32).max
        self.numbers = torch.int32 if small else torch.int64
        """Of what kind the numbers of pixels are: short ones are half as much to write and read."""
        self.generator = generator
        self.shapes = torch.tensor(corpus.shapes)
        self.offsets = torch.tensor(corpus.offsets)
        self.weights = self.shapes.double().prod(1)
        if corpus.sizes:
            sizes = torch.tensor(corpus.sizes).double()
            file = (sizes == 1).cumsum(0) - 1  # its own size comes first
            self.weights = self.weights / sizes.square() / file.bincount()[file]

    def draw(self, batch: int, size: int) -> Windows:
        """Where ``batch`` crops of ``size`` squared lie."""
        return self.windows(self.places(batch), size)

    def places(self, batch: int) -> Places:
        """Where ``batch`` crops lie, whatever their size."""
        chosen = torch.multinomial(self.weights, batch, replacement=True, generator=self.generator)
        down, across = torch.rand(2, batch, dtype=torch.float64, generator=self.generator)
        turn = torch.randint(8, (batch,), generator=self.generator)
        return Places(chosen, down, across, turn)

    def windows(self, places: Places, size: int) -> Windows:
        """The same of crops of ``size`` squared."""
        height, width = self.shapes[places.picture].unbind(1)
        top = (places.down * (height - size + 1)).long()
        left = (places.across * (width - size + 1)).long()
        start = self.offsets[places.picture] + top * width + left
        return Windows(start, width, places.turn)

    def cut(self, windows: Windows, size: int) -> Tensor:
        """The crops ``(N, 3, size, size)`` uint8, on the device of the pixels."""
        # From a pixel to the one below and to the one beside it, and where the first one is then.
        upside_down, mirrored, transposed = (windows.turn & bit > 0 for bit in (1, 2, 4))
        below = torch.where(upside_down, -windows.width, windows.width)
        beside = torch.where(mirrored, -1, 1)
        first = windows.start + (size - 1) * (upside_down * windows.width + mirrored)
        below, beside = (
            torch.where(transposed, beside, below),
            torch.where(transposed, below, beside),
        )
        # All of that for a line or a column of numbers; whole crops of them take a device longer.
        along = torch.arange(size)
        rows = first.view(-1, 1) + below.view(-1, 1) * along
        columns = beside.view(-1, 1) * along
        device, kind = self.pixels.device, self.numbers
        rows, columns = (send(t.to(kind), device) for t in (rows, columns))
        index = rows.unsqueeze(2) + columns.unsqueeze(1)
        crops = self.pixels.index_select(0, index.flatten()).view(-1, size, size, 3)
        return crops.permute(0, 3, 1, 2).contiguous()
