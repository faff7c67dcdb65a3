"""Measuring during a run: a small fixed set, degraded once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sr_cli.degradation.bicubic import imresize
from sr_cli.degradation.two_stage import TwoStageModel
from sr_cli.metrics.estimation import skills
from sr_cli.metrics.fidelity import psnr_y
from sr_cli.networks.dan import DAN
from training.corpus import Picture

SEED = 20_000
BATCH = 16


@dataclass(frozen=True)
class Scores:
    """What one validation found."""

    psnr_y: float | None
    """Mean over the set in dB; None while only the Estimator trains."""
    bicubic: float
    """The same of bicubic interpolation."""
    jpeg_auc: float
    """Last JPEG present or not."""
    jpeg_correlation: float
    """Its quality, where present."""
    mean_correlation: float
    """Over all numbers of the vector."""


class ValidationSet:
    """Centre crops of held-out pictures, each degraded a few times with fixed seeds."""

    def __init__(
        self, pictures: tuple[Picture, ...], model: TwoStageModel, crop: int, degradations: int
    ) -> None:
        self.model = model
        hr: list[Tensor] = []
        lr: list[Tensor] = []
        vectors: list[Tensor] = []
        for number, picture in enumerate(pictures):
            top, left = (picture.shape[0] - crop) // 2, (picture.shape[1] - crop) // 2
            centre = torch.from_numpy(picture[top : top + crop, left : left + crop].copy())
            truth = centre.permute(2, 0, 1).unsqueeze(0)
            for repeat in range(degradations):
                generator = torch.Generator().manual_seed(SEED + 1000 * number + repeat)
                drawn = model.sample(1, generator)
                lr.append(model.apply(truth.float() / 255, drawn, generator))
                vectors.append(drawn.vector())
                hr.append(truth)
        self.hr, self.lr, self.vectors = torch.cat(hr), torch.cat(lr), torch.cat(vectors)
        up = torch.cat([imresize(x, model.scale) for x in self.lr.split(BATCH)])
        self.bicubic = float(self._psnr(up).mean())

    def _psnr(self, sr: Tensor) -> Tensor:
        scores = [
            psnr_y(a, b.float() / 255, self.model.scale)
            for a, b in zip(sr.split(BATCH), self.hr.split(BATCH), strict=True)
        ]
        return torch.cat(scores)

    @torch.no_grad()
    def __call__(self, network: DAN, *, estimator_only: bool, autocast: torch.autocast) -> Scores:
        """Measure a network, which stays on its device."""
        device = network.mean.device
        pictures: list[Tensor] = []
        estimates: list[Tensor] = []
        for lr in self.lr.split(BATCH):
            lr = lr.to(device, memory_format=torch.channels_last)
            with autocast:
                if estimator_only:
                    estimate = network.estimate(lr)
                else:
                    sr, estimate = network(lr)
                    pictures.append(sr.float().cpu())
            estimates.append(estimate.float().cpu())
        found = skills(self.model.layout, torch.cat(estimates), self.vectors)
        by_key = {skill.key: skill for skill in found}
        return Scores(
            psnr_y=float(self._psnr(torch.cat(pictures)).mean()) if pictures else None,
            bicubic=self.bicubic,
            jpeg_auc=by_key["stage2.is_jpeg"].auc or 0.0,
            jpeg_correlation=by_key["stage2.jpeg_quality"].correlation,
            mean_correlation=sum(skill.correlation for skill in found) / len(found),
        )
