"""The manifest: every model of the zoo with its facts.  Needs no torch."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

FILE_NAME = "weights_manifest.json"
DEFAULT_MODEL = "dan-real-x4"
SCHEMA_VERSION = 1


class ZooError(Exception):
    """A model that cannot be had; the message says why and what would do."""


@dataclass(frozen=True)
class Weights:
    """Where a model's weights file is and how to know that it is the right one."""

    bundled: str | None
    """File name in `sr_cli/weights`, or None."""
    hub: str | None
    """``owner/repo/file@revision`` on the Hugging Face Hub, or None."""
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Model:
    """One entry of the manifest."""

    name: str
    aliases: tuple[str, ...]
    purpose: str
    """One sentence for people choosing a model."""
    network: str
    """Name of a `sr_cli.networks.registry.Family`."""
    options: Mapping[str, Any]
    """Keyword arguments of the network."""
    scale: int
    degradation: str
    """``"two-stage"`` or ``"blur"``: the layout of the vector."""
    preset: str
    """``"physical"`` or ``"published"``: the degradation that it was trained with."""
    licence: str
    authors: str
    paper: str
    recipe: str
    weights: Weights | None
    """None while nobody has trained it yet."""
    training: Mapping[str, Any]
    """Steps, seconds and device of the run that made the weights."""
    figures: tuple[Mapping[str, Any], ...]
    """Measured quality, one mapping a protocol and data set."""
    estimate: Mapping[str, Mapping[str, float]]
    """Per number of the vector (``stage.name``): correlation, error and, for flags, auc."""


@cache
def manifest() -> dict[str, Model]:
    """All models by name, in the manifest's order.

    Raises:
        ZooError: The manifest is missing or not of this version.
    """
    return parse(_text())


def parse(text: str) -> dict[str, Model]:
    """Read a manifest's JSON.

    Raises:
        ZooError: It is not a manifest of this version, or an entry lacks something.
    """
    try:
        document = json.loads(text)
        if document["version"] != SCHEMA_VERSION:
            raise ZooError(
                f"{FILE_NAME} has version {document['version']}; this program reads version "
                f"{SCHEMA_VERSION}. Install the matching sr-cli."
            )
        return {entry["name"]: _model(entry) for entry in document["models"]}
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ZooError(f"{FILE_NAME} is damaged ({error!r}). Reinstall sr-cli.") from None


def find(name: str) -> Model:
    """A model by its name or an alias.

    Raises:
        ZooError: There is no such model; the nearest names are offered.
    """
    known = {alias: model for model in manifest().values() for alias in model.aliases}
    known |= manifest()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, 3, 0.5)
    hint = f"Did you mean {' or '.join(near)}?" if near else "See `sr-cli models list`."
    raise ZooError(f"There is no model '{name}'. {hint}")


def _text() -> str:
    installed = resources.files("sr_cli") / FILE_NAME
    if installed.is_file():
        return installed.read_text(encoding="utf-8")
    checkout = Path(__file__).parents[2] / FILE_NAME
    try:
        return checkout.read_text(encoding="utf-8")
    except OSError:
        raise ZooError(
            f"{FILE_NAME} is missing from this installation. Reinstall sr-cli."
        ) from None


def _model(entry: Mapping[str, Any]) -> Model:
    values = dict(entry)
    weights = values["weights"]
    values["weights"] = Weights(**weights) if weights else None
    values["aliases"] = tuple(values["aliases"])
    values["figures"] = tuple(values["figures"])
    return Model(**values)
