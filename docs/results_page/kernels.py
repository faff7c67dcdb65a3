"""Estimated blur kernels beside the true ones."""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib.figure import Figure

from sr_cli.degradation.blur_only import BlurModel
from sr_cli.images import find_pictures
from sr_cli.inference.torch_backend import torch_engine
from sr_cli.metrics.blur import kernel_mse, kernel_of
from sr_cli.metrics.evaluation import picture_tensor
from sr_cli.metrics.protocols import PROTOCOLS
from sr_cli.zoo.loading import load

SHOWN = 10
"""Pictures, the first of the folder."""
DRAWS = 200
"""Kernels that `least_errors` is a mean over."""


def least_errors(scale: int) -> tuple[float, float]:
    """Kernel errors of the true vectors, since kernels are uneven and the vector does not say how.

    Returns:
        With peaks brought to one, as `kernel_mse`, and with sums of one.
    """
    model = BlurModel(scale)
    drawn = model.sample(DRAWS, torch.Generator().manual_seed(0))
    peaks, sums = 0.0, 0.0
    for kernel, vector in zip(model.kernels(drawn), model.vector(drawn), strict=True):
        told = kernel_of(model.layout, vector, model.kernel_size)
        assert told is not None
        peaks += kernel_mse(told, kernel) / DRAWS
        sums += float((told - kernel.double()).square().mean()) / DRAWS
    return peaks, sums


def of_degraded(model: str, folder: Path, path: Path) -> None:
    """A column a picture of protocol `aniso`: the true kernel above the estimated one.

    Args:
        model: One that estimates a kernel, or what makes one.
        folder: Of high-resolution pictures.
        path: A PNG.
    """
    loaded = load(model)
    engine = torch_engine(loaded.network)
    condition = PROTOCOLS["aniso"].at(loaded.scale).conditions[0]
    found: list[tuple[str, torch.Tensor, torch.Tensor]] = []
    for picture in find_pictures(folder, recursive=False)[:SHOWN]:
        case = condition.degrade(picture.name, picture_tensor(picture), 0)
        assert case.kernel is not None
        vector = torch.from_numpy(engine.estimate(case.lr.permute(1, 2, 0).contiguous().numpy()))
        estimate = kernel_of(loaded.layout, vector, case.kernel.shape[-1])
        assert estimate is not None
        found.append((picture.name, case.kernel, estimate))
    figure = Figure((1.1 * len(found), 2.7), layout="constrained")
    for number, ((name, truth, estimate), column) in enumerate(
        zip(found, figure.subplots(2, len(found), squeeze=False).T, strict=True)
    ):
        # Each with its peak at white, as kernel_mse compares them.
        for axes, kernel in zip(column, (truth, estimate), strict=True):
            axes.imshow(kernel / kernel.max(), cmap="gray", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
        column[0].set_title(name, fontsize=8)
        column[1].set_xlabel(f"{kernel_mse(estimate, truth):.4f}", fontsize=8)
        if number == 0:
            column[0].set_ylabel("true", fontsize=9)
            column[1].set_ylabel("estimated", fontsize=9)
    figure.savefig(path, dpi=100, metadata={"Software": None})
