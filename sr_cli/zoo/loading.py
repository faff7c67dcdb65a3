"""From what a user calls a model to a ready network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sr_cli.degradation.layout import TWO_STAGE, Layout, blur_layout
from sr_cli.networks.dan import DAN
from sr_cli.networks.registry import family, recognise
from sr_cli.zoo import weights
from sr_cli.zoo.manifest import ZooError, find, manifest

WEIGHTS_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt")


@dataclass(frozen=True)
class LoadedModel:
    """A network with what its users must know."""

    name: str
    network: DAN
    scale: int
    layout: Layout
    estimate: Mapping[str, Mapping[str, float]]
    """Measured skill a number, as in the manifest; empty for a file that is not of the zoo."""


def load(name: str) -> LoadedModel:
    """A model in evaluation mode on the CPU, float32.

    Args:
        name: A name of the manifest, a path of a weights file, or ``hf:owner/repo/file[@rev]``.

    Raises:
        ZooError: See `sr_cli.zoo.weights` and `sr_cli.zoo.manifest.find`.
    """
    if name.startswith("hf:"):
        return _from_file(weights.fetch(name.removeprefix("hf:")), name)
    if name.endswith(WEIGHTS_SUFFIXES):
        return _from_file(Path(name), name)
    model = find(name)
    network = _build(weights.locate(model), model.network, model.options)
    return LoadedModel(
        model.name, network, model.scale, _layout(model.degradation, model.scale), model.estimate
    )


def _from_file(path: Path, name: str) -> LoadedModel:
    state, header = weights.read(path)
    try:
        found, options, state = recognise(state)
    except KeyError:
        raise ZooError(
            f"{path} is not of a network this program knows: "
            f"its first key is '{next(iter(state), 'none')}'."
        ) from None
    if header.get("network") == found.name:
        options |= json.loads(header.get("options", "{}"))
    network = found.build(**options)
    _load_strictly(network, state, path)
    size = options["degradation_size"]
    layout = _layout("two-stage" if size == len(TWO_STAGE) else "blur", network.scale)
    if size != len(layout):
        raise ZooError(f"{path} estimates {size} numbers, a layout this program does not know.")
    digest = weights.sha256(path)
    known = [m for m in manifest().values() if m.weights and m.weights.sha256 == digest]
    return LoadedModel(
        name, network.eval(), network.scale, layout, known[0].estimate if known else {}
    )


def _build(path: Path, network_name: str, options: Mapping[str, Any]) -> DAN:
    state, _ = weights.read(path)
    network = family(network_name).build(**options)
    _load_strictly(network, state, path)
    return network.eval()


def _load_strictly(network: DAN, state: Mapping[str, Any], path: Path) -> None:
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ZooError(f"{path} does not fit its network: {error}") from None


def _layout(name: str, scale: int) -> Layout:
    return TWO_STAGE if name == "two-stage" else blur_layout(5 if scale == 2 else 15)
