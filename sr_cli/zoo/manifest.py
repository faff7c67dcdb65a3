"""The manifest: every model of the zoo with its facts.  Needs no torch.

`weights_manifest.json` holds the facts, the dataclasses here say what they mean, and
`sr_cli.zoo.schema` says which values are allowed.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from sr_cli.zoo.schema import SCHEMA_VERSION, problems

FILE_NAME = "weights_manifest.json"
DEFAULT_MODEL = "dan-real-x4"
SHARP_MODEL = "dan-real-gan-x4"
"""Whose weights were trained on from the default model's, so that the two can be mixed."""

_REPAIR = "If you have edited it, correct that; reinstalling sr-cli brings the original back."

Tiling = Literal["exact", "local", "blended"]


class ZooError(Exception):
    """A model that cannot be had; the message says why and what would do."""


@dataclass(frozen=True)
class HubFile:
    """A file of a repository of the Hugging Face Hub."""

    repo: str
    """``owner/name``."""
    file: str
    """Path within the repository."""
    revision: str | None
    """A commit of 40 hexadecimal digits in the manifest; elsewhere also a branch or tag, or None
    for the main branch."""

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"hf:{self.repo}/{self.file}{revision}"


@dataclass(frozen=True)
class Weights:
    """Where a model's weights file is and how to know that it is the right one."""

    bundled: str | None
    """File name in `sr_cli/weights`, or None."""
    hub: HubFile | None
    """Where it can be downloaded, or None; a bundled file may be on the Hub as well."""
    sha256: str
    """Of the file, 64 hexadecimal digits."""
    bytes: int
    numbers_sha256: str | None = None
    """Of the numbers in it, whatever file they are in: see `sr_cli.zoo.weights.digest`."""


@dataclass(frozen=True)
class Paper:
    """What a model was first described in, and how good it was there."""

    title: str
    authors: str
    """As papers cite it: ``Luo et al.``."""
    year: int
    url: str | None
    """The authors' code, if they published any."""
    figures: tuple[Mapping[str, Any], ...]
    """Reported by the authors, one mapping a data set: ``data`` and ``psnr_y`` in dB, mostly with
    ``ssim_y``.  Their measure is named where it is another one: ``psnr_rgb``, ``lpips_alex``."""


@dataclass(frozen=True)
class Model:
    """One entry of the manifest."""

    name: str
    aliases: tuple[str, ...]
    """Other names that `find` knows it by."""
    purpose: str
    """One sentence for people choosing a model."""
    network: str
    """Name of a `sr_cli.networks.registry.Family`."""
    options: Mapping[str, Any]
    """Keyword arguments of the network."""
    scale: int
    """Enlargement."""
    tiling: Tiling
    """What tiles of it are worth.  ``exact``: averages over the picture are taken over all tiles,
    so the result is the whole picture's.  ``local``: the network sees no further than a halo, with
    the same outcome.  ``blended``: tiles know only of themselves; wide overlaps are blended."""
    degradation: str | None
    """``"two-stage"`` or ``"blur"``: the layout of the vector that it estimates; None if it
    estimates nothing, or something without a layout."""
    preset: str
    """The degradation that it is trained for: see `sr_cli.zoo.schema.PRESETS`."""
    ranges: Mapping[str, tuple[float, float]]
    """From and to of the degradation's numbers, in units: by ``stage.name`` those of a layout, and
    ``kernel`` (side in pixels), ``sigma`` (pixels), ``uneven`` (share of a kernel's weight) and
    ``noise`` (sigma, of 255)."""
    weights: Weights | None
    """None while nobody has trained it yet."""
    licence: str | None
    """Of the weights, as SPDX calls it; None without weights."""
    authors: str | None
    """Who trained the weights; None without weights."""
    paper: Paper
    recipe: str
    """Name of the training recipe that makes it, whether or not that recipe is written yet."""
    training: Mapping[str, Any]
    """Steps, seconds and device of the run that made the weights, what these went on from, if that
    is known, and whether the recipe had been changed; empty without weights."""
    figures: tuple[Mapping[str, Any], ...]
    """Measured quality of these weights: ``protocol``, ``data``, ``date``, ``cases``, ``seed``, and
    every measure beside that of bicubic interpolation."""
    estimate: Mapping[str, Mapping[str, float]]
    """Measured skill of every number of the vector (``stage.name``): ``correlation``, ``error`` in
    the number's unit, ``count`` of cases and, for flags, ``auc``."""


@cache
def manifest() -> dict[str, Model]:
    """All models by name, in the manifest's order.

    Raises:
        ZooError: The manifest is missing, not of this version, or not valid.
    """
    return parse(_text())


def parse(text: str) -> dict[str, Model]:
    """Read a manifest's JSON.

    Raises:
        ZooError: It is not a manifest of this version, or says something that it must not; the
            first problem is told with its place.
    """
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise ZooError(f"{FILE_NAME} is damaged: {error}. {_REPAIR}") from None
    version = document.get("version") if isinstance(document, dict) else None
    if isinstance(version, int) and version != SCHEMA_VERSION:
        raise ZooError(
            f"{FILE_NAME} has version {version}; this program reads version {SCHEMA_VERSION}. "
            "Install the matching sr-cli."
        )
    if found := problems(document):
        others = f" (and {len(found) - 1} more problems)" if len(found) > 1 else ""
        raise ZooError(f"{FILE_NAME} is not valid: {found[0]}{others}. {_REPAIR}")
    return {entry["name"]: _model(entry) for entry in document["models"]}


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


def matching(pattern: str) -> list[Model]:
    """Models whose name or an alias fits a pattern with ``*``, ``?`` and ``[...]``."""
    return [
        model
        for model in manifest().values()
        if any(fnmatchcase(name, pattern.lower()) for name in (model.name, *model.aliases))
    ]


def of_numbers(sha256: str) -> Model | None:
    """The model whose weights have this hash as numbers, whatever file they come from."""
    models = manifest().values()
    return next((m for m in models if m.weights and m.weights.numbers_sha256 == sha256), None)


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
    values["weights"] = _weights(values["weights"]) if values["weights"] else None
    paper = values["paper"]
    values["paper"] = Paper(**(paper | {"figures": tuple(paper["figures"])}))
    values["aliases"] = tuple(values["aliases"])
    values["figures"] = tuple(values["figures"])
    values["ranges"] = {key: (low, high) for key, (low, high) in values["ranges"].items()}
    return Model(**values)


def _weights(entry: Mapping[str, Any]) -> Weights:
    hub = HubFile(**entry["hub"]) if entry["hub"] else None
    return Weights(entry["bundled"], hub, entry["sha256"], entry["bytes"], entry["numbers_sha256"])
