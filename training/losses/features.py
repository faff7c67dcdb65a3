"""Perceptual losses: pictures compared by what a network trained to classify sees in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from sr_cli.metrics import squeezenet
from training.schema import Loss


class FeaturesError(Exception):
    """The features' weights cannot be had; the message says where they come from."""


class Features(nn.Module):
    """A fixed network that compares pictures; gradients reach the first picture only."""

    def distance(self, sr: Tensor, hr: Tensor) -> Tensor:
        """A scalar, the mean over a batch ``(N, 3, H, W)`` of RGB in [0, 1]."""
        raise NotImplementedError


VGG19_LAYERS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, *(512,) * 4, 0, *(512,) * 4)
"""Output channels of the convolutions; 0 is a pooling."""
VGG19_COMPARED = (2, 7, 16, 25, 34)
"""conv1_2, 2_2, 3_4, 4_4 and 5_4, by torchvision's number."""


class VGG19(Features):
    """RealDAN's and PDM's perceptual loss: L1 of features before their ReLU.

    Args:
        state: torchvision's ``vgg19`` state dict.
        weights: Of the layers `VGG19_COMPARED`; RealDAN's if none are given.
    """

    def __init__(
        self, state: dict[str, Tensor], weights: Sequence[float] = Loss().feature_weights
    ) -> None:
        super().__init__()
        self.weights = {
            layer: weight for layer, weight in zip(VGG19_COMPARED, weights, strict=True) if weight
        }
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.tensor((0.485, 0.456, 0.406)).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor((0.229, 0.224, 0.225)).view(1, 3, 1, 1))
        layers: list[nn.Module] = []
        channels = 3
        for width in VGG19_LAYERS:
            if width:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers[: max(self.weights) + 1])
        wanted = self.state_dict().keys()
        self.load_state_dict({k: v for k, v in state.items() if k in wanted}, strict=False)
        missing = [k for k in wanted if k.startswith("features") and k not in state]
        if missing:
            raise FeaturesError(f"These are no weights of VGG19: {missing[0]} is missing.")
        self.eval()
        self.requires_grad_(False)

    def distance(self, sr: Tensor, hr: Tensor) -> Tensor:
        x = (torch.cat((sr, hr)) - self.mean) / self.deviation
        total = torch.zeros((), device=sr.device)
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in self.weights:
                ours, theirs = x.float().chunk(2)
                total = total + self.weights[number] * F.l1_loss(ours, theirs.detach())
        return total


class SqueezeNet(Features):
    """LPIPS v0.1 on SqueezeNet 1.1; what `sr-cli evaluate` calls lpips-squeeze."""

    def __init__(self, network: squeezenet.SqueezeNet) -> None:
        super().__init__()
        self.network = network

    def distance(self, sr: Tensor, hr: Tensor) -> Tensor:
        return torch.stack([cells.mean() for cells in self.network(sr, hr)]).sum()


class Staggered(Features):
    """Compares every picture of a batch from another position of the features' grid on.

    Strided convolutions see a picture through a grid that always begins at its corner, and so does
    a network that enlarges by pixel shuffles: what it makes comes to repeat with that grid, as a
    hatching, which no single position of the grid shows.

    Args:
        features: To compare by.
        positions: In each direction.
    """

    def __init__(self, features: Features, positions: int) -> None:
        super().__init__()
        self.features = features
        self.positions = positions

    def distance(self, sr: Tensor, hr: Tensor) -> Tensor:
        return self.features.distance(self.cut(sr), self.cut(hr))

    def cut(self, pictures: Tensor) -> Tensor:
        """Picture i of ``(N, 3, H, W)`` without its first i mod P columns and (i + i / P) mod P
        rows, all ``P - 1`` pixels smaller.

        So P pictures show every column and every row, and P squared ones every position.
        """
        count, most = self.positions, self.positions - 1
        height, width = pictures.shape[-2] - most, pictures.shape[-1] - most
        cut = []
        for number, picture in enumerate(pictures):
            left, top = number % count, (number + number // count) % count
            cut.append(picture[:, top : top + height, left : left + width])
        return torch.stack(cut)


def load_features(options: Loss) -> Features:
    """What a recipe's perceptual loss compares pictures by.

    Raises:
        FeaturesError: The weights are neither in the given folder nor to be fetched.
    """
    features = _loaded(options)
    positions = options.feature_positions
    return Staggered(features, positions) if positions > 1 else features


def _loaded(options: Loss) -> Features:
    folder = Path(options.features_folder) if options.features_folder else None
    if options.features == "squeezenet":
        if folder is None:
            raise FeaturesError(
                f"The perceptual loss needs the folder that holds {squeezenet.FEATURES_FILE} and "
                f"{squeezenet.HEADS_FILE}: --set loss.features_folder=DIR"
            )
        try:
            return SqueezeNet(squeezenet.read(folder))
        except (FileNotFoundError, ValueError) as error:
            raise FeaturesError(f"The perceptual loss cannot look: {error}") from None
    state = _read(folder / "vgg19.safetensors") if folder else _vgg19_of_torchvision()
    return VGG19(state, options.feature_weights)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError:
        raise FeaturesError(f"The perceptual loss needs {path}, which is not there.") from None
    except (SafetensorError, OSError) as error:
        raise FeaturesError(f"{path} cannot be read: {error}.") from None


def _vgg19_of_torchvision() -> dict[str, Tensor]:
    try:
        from torchvision.models import VGG19_Weights

        state: dict[str, Any] = VGG19_Weights.IMAGENET1K_V1.get_state_dict(progress=False)
    except Exception as error:
        raise FeaturesError(
            f"The perceptual loss looks through VGG19, whose weights come with torchvision and the "
            f"internet ({type(error).__name__}). Install torchvision, or take SqueezeNet's: "
            "--set loss.features=squeezenet --set loss.features_folder=DIR"
        ) from None
    return state
