"""Pairs that a run is measured on: held-out pictures degraded once, or pairs as they were given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from sr_cli.degradation.layout import Layout
from sr_cli.images import PictureError
from sr_cli.metrics.evaluation import CaseError, read_pair
from sr_cli.metrics.pairs import PairError, recognise
from training.corpus import Corpus, CorpusError
from training.degradations import Degrader, degraded_centres
from training.losses.objective import Truth
from training.schema import Validation

SEED = 20_000


@dataclass(frozen=True)
class HeldOut:
    """Pairs that are not learned from."""

    lr: Tensor
    """``(N, 3, h, w)`` in [0, 1]."""
    hr: Tensor
    """``(N, 3, scale*h, scale*w)`` uint8."""
    truth: Truth = "nothing"
    """What is known of their degradation."""
    known: Tensor | None = None
    """``(N, D)`` that, unless it is nothing."""
    layout: Layout | None = None
    """Of vectors, where these are known."""
    repeats: int = 1
    """How many pairs in a row show the same picture."""


def degraded(corpus: Corpus, model: Degrader, options: Validation, truth: Truth) -> HeldOut:
    """Centre crops of held-out pictures, each degraded a few times with fixed seeds.

    Args:
        corpus: The pictures, none smaller than the crop and its margin.
        model: Of the degradation.
        options: The recipe's.
        truth: What is to be known of the degradation.
    """
    hr: list[Tensor] = []
    lr: list[Tensor] = []
    known: list[Tensor] = []
    crop = options.side(model.scale)
    for original, small, drawn in degraded_centres(corpus, model, crop, options.degradations, SEED):
        hr.append(original)
        lr.append(small)
        if truth == "vector":
            known.append(model.vector(drawn))
        elif truth == "kernel":
            known.append(model.kernels(drawn))
    margin = options.margin
    return HeldOut(
        F.pad(torch.cat(lr), [-margin] * 4),
        F.pad(torch.cat(hr), [-margin * model.scale] * 4),
        truth,
        torch.cat(known) if known else None,
        model.layout,
        options.degradations,
    )


def paired(folder: Path, scale: int, options: Validation) -> HeldOut:
    """Centre crops of low-quality pictures whose originals are known.

    Args:
        folder: A data set of pairs, see `sr_cli.metrics.pairs`.
        scale: Between them.
        options: The recipe's, of which the crop counts.

    Raises:
        CorpusError: There is no such data set, or its pictures do not fit together.
    """
    side = options.crop // scale
    hr: list[Tensor] = []
    lr: list[Tensor] = []
    try:
        found = recognise(folder, scale) if folder.is_dir() else None
        if found is None:
            raise CorpusError(
                f"{folder} holds no pairs at x{scale}. Where the degradation is learned, --val "
                "names a folder with HR and LR in it, or goes without."
            )
        for pair in found.pairs:
            small, large = read_pair(pair, scale)
            height, width = small.shape[-2:]
            if min(height, width) < side:
                continue
            top, left = (height - side) // 2, (width - side) // 2
            lr.append(small[:, top : top + side, left : left + side])
            above, before, wide = top * scale, left * scale, side * scale
            hr.append(large[:, above : above + wide, before : before + wide])
    except CaseError as error:
        raise CorpusError(str(error)) from None
    except (PairError, PictureError, OSError) as error:
        raise CorpusError(f"{folder}: {error}") from None
    if not lr:
        raise CorpusError(f"No pair in {folder} has {side} low-resolution pixels a side.")
    return HeldOut(torch.stack(lr), (torch.stack(hr) * 255).round().byte())
