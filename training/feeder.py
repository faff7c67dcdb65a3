"""From a corpus to batches of pairs: crops, degradations, the pool, and all of their chance."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from training.corpus import Corpus
from training.crops import Cropper
from training.degradations import Degrader
from training.losses.objective import Truth
from training.pool import Pairs, Pool
from training.processes import Processes
from training.schema import Data, Phase
from training.tensors import part, send


class Feeder:
    """Draws what every process is to learn from, each its own share of it.

    What is drawn (crops, parameters) comes from one generator that runs alike in all processes, so
    a batch is the same however many share it.  The noise and the pool's mixing are each process's
    own.  On a GPU everything is computed on a stream of its own: its few waits are for themselves,
    while the network learns from the last batch.  That stream goes first where both want the GPU:
    its kernels are short, and whoever makes the calls waits for some of them.

    Args:
        corpus: What crops are cut from.
        model: What degrades them.
        data: The recipe's.
        seed: The recipe's.
        processes: Who shares a batch.
    """

    def __init__(
        self, corpus: Corpus, model: Degrader, data: Data, seed: int, processes: Processes
    ) -> None:
        self.model = model
        self.data = data
        self.processes = processes
        self.device = processes.device
        self.seed = seed
        self.drawing = torch.Generator().manual_seed(seed + 1)
        self.mixing = torch.Generator()
        self.noise = torch.Generator(self.device)
        self._seed_own(0)
        self.cropper = Cropper(corpus.near(self.device), self.drawing)
        on_gpu = self.device.type == "cuda"
        self.stream = torch.cuda.Stream(self.device, priority=-1) if on_gpu else None
        self.phase: Phase
        """Under way, see `begin`."""
        self.truth: Truth
        """What has to be known of the degradation in it."""
        self.pool: Pool
        """Its."""

    def _seed_own(self, step: int) -> None:
        own = 1_000_003 * self.processes.index + 7 * step + self.seed
        self.mixing.manual_seed(own + 3)
        self.noise.manual_seed(own + 2)

    def begin(self, phase: Phase, truth: Truth) -> None:
        """Forget the pool; from here on make pairs as a phase wants them.

        Args:
            phase: Its batch and crop.
            truth: What has to be known of the degradation.
        """
        count = self.processes.count
        self.phase = phase
        self.truth = truth
        self.pool = Pool(
            self._make,
            self.data.pool // count,
            phase.batch // count,
            self.data.reuse,
            self.mixing,
            self.data.batches,
        )

    def next(self) -> Pairs:
        """This process's share of the next batch."""
        if self.stream is None:
            return self.pool.next()
        with torch.cuda.stream(self.stream):
            pairs = self.pool.next()
        learning = torch.cuda.current_stream(self.device)
        learning.wait_stream(self.stream)
        for tensor in (pairs.lr, pairs.hr, pairs.truth):
            tensor.record_stream(learning)
        return pairs

    @torch.no_grad()
    def _make(self) -> Pairs:
        phase, scale = self.phase, self.model.scale
        size = phase.lr_crop + 2 * phase.margin
        batch = phase.batch * self.data.batches
        mine = self.processes.share(batch)
        windows = self.cropper.draw(batch, size * scale)[mine]
        drawn = self._drawn(batch, mine)
        hr = send(self.cropper.cut(windows, size * scale), self.device)
        crops = hr.split([len(some) for some in drawn])
        lr = torch.cat(
            [
                self.model.apply(crop / 255, some, self.noise)
                for crop, some in zip(crops, drawn, strict=True)
            ]
        )
        corner = phase.margin + self._shifts(batch, phase.shift)[mine]
        lr = window(lr, corner, phase.lr_crop)
        hr = window(hr, corner * scale, phase.lr_crop * scale)
        known = torch.cat([self._known(some) for some in drawn])
        return Pairs((lr * 255).round().byte(), hr, send(known, self.device))

    def _drawn(self, batch: int, mine: slice) -> list[Any]:
        """Parameters of this process's share of a batch; what was drawn together is together."""
        usual = batch - self._mild(batch)
        ends = dict.fromkeys([*range(0, usual, self.data.alike or batch), usual, batch])
        found = []
        for begin, end in pairwise(ends):
            drawn = self.model.sample(end - begin, self.drawing)
            if begin >= usual:
                drawn = self.model.mildest(drawn)
            share = part(drawn, slice(max(mine.start - begin, 0), max(mine.stop - begin, 0)))
            if len(share):
                found.append(share)
        return found

    def _mild(self, batch: int) -> int:
        """Pairs of a batch that are to be mild: on average their share, whatever the batch."""
        wanted = self.data.mild * batch
        if wanted == int(wanted):
            return int(wanted)
        chance = float(torch.rand((), generator=self.drawing, dtype=torch.float64))
        return int(wanted) + (chance < wanted % 1)

    def _known(self, drawn: Any) -> Tensor:
        if self.truth == "nothing":
            return torch.zeros(len(drawn), 0)
        return self.model.vector(drawn) if self.truth == "vector" else self.model.kernels(drawn)

    def _shifts(self, batch: int, most: int) -> Tensor:
        """Rows and columns ``(batch, 2)`` by which crops lie off their margin's middle."""
        if most == 0:
            return torch.zeros(batch, 2, dtype=torch.long)
        return torch.randint(-most, most + 1, (batch, 2), generator=self.drawing)

    def state(self) -> dict[str, Any]:
        """What this process alone has to remember."""
        pairs = self.pool.pairs
        return {
            "drawing": self.drawing.get_state(),
            "mixing": self.mixing.get_state(),
            "noise": self.noise.get_state(),
            "given": self.pool.given,
            "order": self.pool.order,
            "pool": {"lr": pairs.lr, "hr": pairs.hr, "truth": pairs.truth} if pairs else {},
        }

    def load(self, state: dict[str, Any], step: int, *, own: bool) -> None:
        """Go on from a `state`.

        Args:
            state: This process's, or another's.
            step: Of the run.
            own: Whether it is this process's; of another's only what is common is taken, and the
                rest is drawn anew.
        """
        self.drawing.set_state(state["drawing"].cpu())
        if not own:
            self._seed_own(step)
            return
        self.mixing.set_state(state["mixing"].cpu())
        self.noise.set_state(state["noise"].cpu())
        pool = {key: value.to(self.device) for key, value in state["pool"].items()}
        pairs = Pairs(**pool) if pool else None
        if pairs is not None and self._fits(pairs):
            self.pool.load(pairs, state.get("order"), state["given"])

    def _fits(self, pairs: Pairs) -> bool:
        """Whether a pool's pairs are such as are made now; if not, one begins with none."""
        one = self.model.sample(1, torch.Generator())
        known = self._known(one).shape[1]
        wanted = self.pool.size, self.phase.lr_crop, known
        return wanted == (len(pairs), pairs.lr.shape[-1], pairs.truth.shape[1])


def window(pictures: Tensor, corner: Tensor, size: int) -> Tensor:
    """A square of every picture.

    Args:
        pictures: ``(N, 3, H, W)``.
        corner: ``(N, 2)`` its first row and column, on the CPU.
        size: Its side.

    Returns:
        ``(N, 3, size, size)``.
    """
    top, left = corner.unbind(1)
    if bool((corner == corner[:1]).all()):
        row, column = corner[0].tolist()
        return pictures[:, :, row : row + size, column : column + size].contiguous()
    everywhere = pictures.unfold(2, size, 1).unfold(3, size, 1)  # a view
    each, top, left = (send(t, pictures.device) for t in (torch.arange(len(top)), top, left))
    return everywhere[each, :, top, left]
