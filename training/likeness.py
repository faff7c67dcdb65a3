"""Whether a learned degradation makes pictures like the low-quality ones: a sheet to look at."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from sr_cli.degradation.bicubic import imresize
from sr_cli.networks.stages import SuperResolver
from training.corpus import Corpus
from training.crops import Cropper
from training.unpaired import LearnedDegradation, moments

SEED = 30_000
BATCH = 16
"""Crops that are degraded together: their statistics are what normalises them."""


@dataclass(frozen=True)
class Look:
    """What one look found."""

    learned: dict[str, float]
    """``blur_sigma``, the mean width of the kernels in high-resolution pixels, and ``noise_sigma``,
    the noise's standard deviation on the 0..255 scale, where there is noise."""
    undrawn: OSError | None = None
    """Why there is no sheet, if there is none."""


class Likeness:
    """Shows the same crops every time, and tells blur and noise in numbers.

    Args:
        degradation: What is being learned.
        corpus: Sharp pictures.
        low: Low-quality ones.
        side: Of the crops, low-resolution pixels.
        scale: Between them.
        rows: Crops to show, at most `BATCH`; 0 for none.
    """

    def __init__(
        self,
        degradation: LearnedDegradation,
        corpus: Corpus,
        low: Corpus,
        side: int,
        scale: int,
        rows: int,
    ) -> None:
        self.degradation = degradation
        self.scale = scale
        self.rows = min(rows, BATCH)
        generator = torch.Generator().manual_seed(SEED)
        self.hr, self.low = (
            cropper.cut(cropper.draw(BATCH, size), size).float() / 255
            for cropper, size in (
                (Cropper(corpus, generator), side * scale),
                (Cropper(low, generator), side),
            )
        )
        self.numbers = degradation.model.draw(self.hr, generator)

    @torch.no_grad()
    def __call__(
        self, network: SuperResolver | None, autocast: torch.autocast, sheet: Path
    ) -> Look:
        """Look.

        Args:
            network: What learns to undo the degradation, if it does already.
            autocast: The precision to run it in.
            sheet: A PNG to draw into, a row for each crop: a sharp crop made small by bicubic
                interpolation, the same degraded, the kernel, a low-quality crop and what the
                network makes of that.
        """
        device = self.degradation.device
        # A copy, as statistics of a batch are wanted, and not to be remembered.
        model = copy.deepcopy(self.degradation.settled)
        made, kernels, noise = model(
            self.hr.to(device), *(numbers.to(device) for numbers in self.numbers)
        )
        _, variance = moments(kernels)
        found = {"blur_sigma": float(variance.mean(1).sqrt().mean())}
        if noise is not None:
            found["noise_sigma"] = 255 * float(noise.square().mean().sqrt())
        undrawn: OSError | None = None
        if self.rows:
            shown = self.low[: self.rows]
            columns = [
                self._enlarged(imresize(self.hr[: self.rows], Fraction(1, self.scale))),
                self._enlarged(made[: self.rows].cpu()),
                self._drawn(kernels[: self.rows].cpu()),
                self._enlarged(shown),
            ]
            if network is not None:
                with autocast:
                    columns.append(network(shown.to(device))[0].float().cpu())
            try:
                _save(torch.cat(columns, 3), sheet)
            except OSError as error:
                undrawn = error
        return Look(found, undrawn)

    def _enlarged(self, pictures: Tensor) -> Tensor:
        return F.interpolate(pictures, scale_factor=self.scale, mode="nearest")

    def _drawn(self, kernels: Tensor) -> Tensor:
        """Kernels as pictures of the crops' size, their largest weight white."""
        whole = kernels / kernels.amax((1, 2), keepdim=True)
        return F.interpolate(
            whole.unsqueeze(1).expand(-1, 3, -1, -1), self.hr.shape[-2:], mode="nearest"
        )


def _save(rows: Tensor, path: Path) -> None:
    """Pictures ``(N, 3, H, W)`` in about [0, 1] below each other, as a PNG.

    Raises:
        OSError: It could not be written.
    """
    whole = torch.cat(list(rows.clamp(0, 1).mul(255).round().byte()), 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(whole.permute(1, 2, 0).numpy()).save(path)
