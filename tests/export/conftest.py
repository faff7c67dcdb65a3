"""Small networks, exported once for many tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sr_cli.degradation.layout import TWO_STAGE
from sr_cli.export import making
from sr_cli.inference.onnx_file import OnnxFile
from sr_cli.networks.dan import DAN
from sr_cli.networks.stages import SuperResolver
from sr_cli.zoo.loading import LoadedModel

SKILL = {"stage2.jpeg_quality": {"correlation": 0.9, "error": 7.5, "count": 90}}


def source(network: SuperResolver) -> making.Source:
    """A network as something to export, with the layout of its vector if it is a DAN."""
    is_dan = isinstance(network, DAN)
    loaded = LoadedModel(
        "made-here", network, network.scale, TWO_STAGE if is_dan else None, SKILL if is_dan else {}
    )
    return making.Source(loaded, "5" * 64, "Apache-2.0")


@pytest.fixture(scope="session")
def network() -> DAN:
    """Random weights, large enough that every part shows in the output; two segments."""
    torch.manual_seed(1)
    made = DAN(features=8, blocks=5, iterations=3)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter *= 1.3
    return made.eval()


@pytest.fixture(scope="session")
def file(network: DAN) -> OnnxFile:
    """That network in single precision."""
    return making.made(source(network))


@pytest.fixture(scope="session")
def path(file: OnnxFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same on the disk."""
    place = tmp_path_factory.mktemp("onnx") / "made-here.onnx"
    making.write(file, place)
    return place
