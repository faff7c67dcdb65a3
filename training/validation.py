"""Measuring during a run, on a small fixed set of pairs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from sr_cli.degradation.bicubic import imresize
from sr_cli.degradation.layout import Layout
from sr_cli.metrics.estimation import skills
from sr_cli.metrics.fidelity import psnr_y
from sr_cli.networks.dan import DAN
from sr_cli.networks.danv1 import DANv1
from sr_cli.networks.stages import SuperResolver
from training.held_out import HeldOut
from training.schema import Trained

BATCH = 16
HIGHEST = 100.0
"""PSNR of a picture in dB that counts; a hundredth of a level is 88."""


@dataclass(frozen=True)
class Scores:
    """What one validation found."""

    psnr_y: float | None
    """Mean over the set in dB; None while only the Estimator trains."""
    bicubic: float
    """The same of bicubic interpolation."""
    estimate: dict[str, float] = field(default_factory=dict)
    """How well the degradation is told, by measure."""
    undrawn: OSError | None = None
    """Why there are no strips, if there are none."""


class ValidationSet:
    """Measures networks on held-out pairs.

    Args:
        pairs: The pairs.
        scale: Between their pictures.
        strips: Of how many pictures a strip is drawn each time.
    """

    def __init__(self, pairs: HeldOut, scale: int, strips: int) -> None:
        self.scale = scale
        self.strips = strips
        self.truth = pairs.truth
        self.layout = pairs.layout
        self.repeats = pairs.repeats
        self.hr, self.lr, self.known = pairs.hr, pairs.lr, pairs.known
        up = torch.cat([imresize(x, scale) for x in self.lr.split(BATCH)])
        self.bicubic = float(self._psnr(up).mean())

    def _psnr(self, sr: Tensor) -> Tensor:
        scores = [
            psnr_y(a, b.float() / 255, self.scale)
            for a, b in zip(sr.split(BATCH), self.hr.split(BATCH), strict=True)
        ]
        # One that is flat may be met exactly, and infinity would take the mean with it.
        return torch.cat(scores).clamp(max=HIGHEST)

    @torch.no_grad()
    def __call__(
        self,
        network: SuperResolver,
        *,
        trains: Trained,
        autocast: torch.autocast,
        strips: Path | None = None,
    ) -> Scores:
        """Measure a network, which stays on its device.

        Args:
            network: Any.
            trains: What of the network is being trained: the Estimator alone makes no picture, the
                Restorer alone is given the truth and estimates nothing; it is a DAN then.
            autocast: The precision to measure in.
            strips: A PNG to draw some of the pictures into.
        """
        device = next(network.parameters()).device
        pictures: list[Tensor] = []
        estimates: list[Tensor] = []
        for number, lr in enumerate(self.lr.split(BATCH)):
            lr = lr.to(device, memory_format=torch.channels_last)
            sr: Tensor | None = None
            estimate: Tensor | None = None
            with autocast:
                if trains == "all":
                    sr, estimate = network(lr)
                elif trains == "estimator":
                    assert isinstance(network, DAN)
                    estimate = network.estimate(lr)
                else:
                    assert isinstance(network, DAN) and self.known is not None
                    sr = network.restore(lr, self.known.split(BATCH)[number].to(device))
            if sr is not None:
                pictures.append(sr.float().cpu())
            if estimate is not None:
                estimates.append(estimate.float().cpu())
        undrawn: OSError | None = None
        if pictures and strips is not None and self.strips:
            try:
                self._draw(strips, torch.cat(pictures))
            except OSError as error:
                undrawn = error
        return Scores(
            psnr_y=float(self._psnr(torch.cat(pictures)).mean()) if pictures else None,
            bicubic=self.bicubic,
            estimate=self._told(network, torch.cat(estimates)) if estimates else {},
            undrawn=undrawn,
        )

    def _told(self, network: SuperResolver, estimate: Tensor) -> dict[str, float]:
        if self.known is None:
            return {}
        if self.truth == "vector":
            assert self.layout is not None
            return _vector_scores(self.layout, estimate, self.known)
        if isinstance(network, DANv1):
            wanted = network.encode(self.known.to(network.encoder.device)).cpu()
            return {"code_error": float((estimate - wanted).abs().mean())}
        return {"kernel_error": float((estimate - self.known).abs().sum(1).mean())}

    def _draw(self, path: Path, sr: Tensor) -> None:
        """Low, bicubic, ours, truth; the first degradation of the first few pictures."""
        step = self.repeats
        rows: list[Tensor] = []
        for i in range(0, min(self.strips * step, len(sr)), step):
            lr, hr = self.lr[i : i + 1], self.hr[i : i + 1].float() / 255
            low = F.interpolate(lr, scale_factor=self.scale, mode="nearest")
            up = imresize(lr, self.scale)
            rows.append(torch.cat((low, up, sr[i : i + 1], hr), 3)[0])
        sheet = torch.cat(rows, 1).clamp(0, 1).mul(255).round().byte()
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(sheet.permute(1, 2, 0).numpy()).save(path)


def _vector_scores(layout: Layout, estimate: Tensor, known: Tensor) -> dict[str, float]:
    """Correlations of the numbers that vary, and of the last JPEG how well it is told."""
    varying = known.std(0) > 1e-6
    found = {s.key: s for s in skills(layout, estimate, known)}
    told = [found[p.key].correlation for p in layout.parameters if varying[p.index]]
    scores = {"mean_correlation": sum(told) / max(len(told), 1)}
    if layout.name == "two-stage":
        scores["jpeg_auc"] = found["stage2.is_jpeg"].auc or 0.0
        scores["jpeg_correlation"] = found["stage2.jpeg_quality"].correlation
    else:
        scores |= {key: found[f"stage1.{key}"].correlation for key in ("sigma_x", "sigma_y")}
    return scores
