"""Pixels that nobody sees: colours for them, so that enlarging them shows nothing, and white."""

from __future__ import annotations

import numpy as np
from PIL import Image

from sr_cli.images.picture import Floats, Picture


def bleed(rgb: Floats, alpha: Floats) -> Floats:
    """Spreads the colours of visible pixels under the transparent ones.

    Transparent pixels are often black or white below. A network that enlarges colours and alpha
    separately mixes that into the rim, a fringe. Here they get the colour of what is near: an
    average over ever larger blocks (pull), taken from the smallest that saw anything (push).

    Args:
        rgb: (H, W, 3).
        alpha: (H, W) in [0, 1].

    Returns:
        (H, W, 3); pixels whose alpha is not zero are as they were, and so is everything if all are
        transparent.
    """
    hidden = alpha <= 0.0
    if not hidden.any() or hidden.all():
        return rgb
    levels = [(rgb * alpha[..., None], alpha)]
    # A single pixel has nothing left to be spread to it, as where averages of alpha underflow.
    while (levels[-1][1] <= 0.0).any() and levels[-1][1].size > 1:
        levels.append((_halved(levels[-1][0]), _halved(levels[-1][1][..., None])[..., 0]))
    filled = _mean(*levels[-1])
    for colours, weight in levels[-2::-1]:
        wide = _doubled(filled, weight.shape)
        filled = np.where(weight[..., None] > 0.0, _mean(colours, weight), wide)
    # The visible ones bit for bit: dividing by alpha what was multiplied by it rounds.
    return np.asarray(np.where(hidden[..., None], filled, rgb), dtype=np.float32)


def visible_rgb(picture: Picture) -> Floats:
    """A picture as a network should see it: ``(H, W, 3)``, with nothing of what is hidden in it."""
    return picture.rgb if picture.alpha is None else bleed(picture.rgb, picture.alpha)


def on_white(rgb: Floats, alpha: Floats | None) -> Floats:
    """A picture as it looks on white paper.

    Args:
        rgb: (H, W, 3) in [0, 1].
        alpha: (H, W) in [0, 1]; None where all is opaque, and everything as it was.

    Returns:
        (H, W, 3).
    """
    if alpha is None:
        return rgb
    cover = np.clip(alpha, 0.0, 1.0)[..., None]
    return rgb * cover + (np.float32(1.0) - cover)


def _mean(colours: Floats, weight: Floats) -> Floats:
    mean = colours / np.maximum(weight, np.finfo(np.float32).tiny)[..., None]
    return mean.astype(np.float32, copy=False)


def _halved(values: Floats) -> Floats:
    """Averages over blocks of 2 x 2; blocks that stick out count what they have as a quarter."""
    height, width = values.shape[:2]
    padded = np.pad(values, ((0, height % 2), (0, width % 2), (0, 0)))
    return (
        padded[0::2, 0::2] + padded[1::2, 0::2] + padded[0::2, 1::2] + padded[1::2, 1::2]
    ) * np.float32(0.25)


def _doubled(values: Floats, shape: tuple[int, ...]) -> Floats:
    """Twice the size, interpolated, and cut to (H, W)."""
    height, width = values.shape[:2]
    size = (2 * width, 2 * height)
    channels = (
        Image.fromarray(np.ascontiguousarray(values[..., c])).resize(
            size, Image.Resampling.BILINEAR
        )
        for c in range(values.shape[2])
    )
    return np.stack([np.asarray(channel) for channel in channels], axis=2)[: shape[0], : shape[1]]
