"""SqueezeNet 1.1 as LPIPS v0.1 looks through it, to measure by (`perceptual`) and to learn by.

Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model
size"; Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

FEATURES_FILE = "squeezenet1_1.safetensors"
HEADS_FILE = "lpips_v0.1_squeeze_heads.safetensors"

COMPARED = {1: 64, 4: 128, 7: 256, 9: 384, 10: 384, 11: 512, 12: 512}
"""Channels of the layers whose outputs are compared, by torchvision's number."""
STRIDES = (2, 4, 8, 16, 16, 16, 16)
"""Pixels between the cells of each of these outputs."""
_BGR_MEAN = (104.0, 117.0, 123.0)


class Fire(nn.Module):
    """SqueezeNet's block: squeeze to few channels, expand with 1x1 and 3x3 convolutions."""

    def __init__(self, channels: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return F.relu(torch.cat((self.expand1x1(x), self.expand3x3(x)), 1))


def layers() -> nn.Sequential:
    """The convolutions of SqueezeNet 1.1, numbered as torchvision's."""

    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    return nn.Sequential(
        nn.Conv2d(3, 64, 3, stride=2),
        nn.ReLU(),
        pool(),
        Fire(64, 16, 64),
        Fire(128, 16, 64),
        pool(),
        Fire(128, 32, 128),
        Fire(256, 32, 128),
        pool(),
        Fire(256, 48, 192),
        Fire(384, 48, 192),
        Fire(384, 64, 256),
        Fire(512, 64, 256),
    )


class SqueezeNet(nn.Module):
    """Where LPIPS sees two pictures differ; fixed, and gradients reach the first picture only.

    Args:
        features: Keys as torchvision's ``squeezenet1_1``, for BGR 0..255 less the ImageNet mean;
            its classifier may be there or not.
        heads: LPIPS v0.1's linear heads.

    Raises:
        ValueError: A tensor is missing or of another shape; the message names it.
    """

    def __init__(self, features: Mapping[str, Tensor], heads: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.mean: Tensor
        self.register_buffer("mean", torch.tensor(_BGR_MEAN).view(1, 3, 1, 1))
        self.features = layers()
        self.heads = nn.ParameterList(torch.zeros(1, width, 1, 1) for width in COMPARED.values())
        for name, own in self.features.state_dict().items():
            own.copy_(_fitting(features, f"features.{name}", own))
        for number, own in enumerate(self.heads):
            own.data.copy_(_fitting(heads, f"lin{number}.model.1.weight", own))
        self.eval()
        self.requires_grad_(False)

    def forward(self, sr: Tensor, hr: Tensor) -> Iterator[Tensor]:
        """Of each compared output in turn, the distance at every cell ``(N, 1, h, w)``.

        Args:
            sr: ``(N, 3, H, W)``, RGB in [0, 1].
            hr: Of the same size.
        """
        x = torch.cat((sr, hr)).flip(1) * 255 - self.mean
        heads = dict(zip(COMPARED, self.heads, strict=True))
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in heads:
                ours, theirs = F.normalize(x.float(), dim=1).chunk(2)
                yield F.conv2d((ours - theirs.detach()).square(), heads[number])


def _fitting(state: Mapping[str, Tensor], name: str, like: Tensor) -> Tensor:
    """A tensor of a file; raises `ValueError` if it cannot stand for another."""
    if name not in state:
        raise ValueError(f"{name} is missing")
    if state[name].shape != like.shape:
        there, wanted = ("x".join(map(str, one.shape)) for one in (state[name], like))
        raise ValueError(f"{name} is {there or 'a single number'}, not {wanted}")
    return state[name]


def read(folder: Path) -> SqueezeNet:
    """The network of the two files of a folder, which are not part of this package.

    Args:
        folder: Holds `FEATURES_FILE` and `HEADS_FILE`; see `SqueezeNet`.

    Raises:
        FileNotFoundError: One is missing.
        ValueError: One is damaged or of another network.
    """
    states = []
    for path in (folder / FEATURES_FILE, folder / HEADS_FILE):
        try:
            states.append(load_file(path))
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{folder} must hold {FEATURES_FILE} and {HEADS_FILE}; {path.name} is not there."
            ) from None
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path} cannot be read: {error}.") from None
    try:
        return SqueezeNet(*states)
    except ValueError as error:
        raise ValueError(
            f"The files in {folder} are not of SqueezeNet 1.1 and LPIPS's heads: {error}."
        ) from None
