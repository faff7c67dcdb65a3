"""What `weights_manifest.json` may say, version 2, and a check of it.  Needs no torch.

The meaning of the fields is told by the dataclasses of `sr_cli.zoo.manifest`.  The check is our own
and small, because it runs whenever `sr-cli models list` does, and that must feel instant.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

SCHEMA_VERSION = 2

PRESETS = (*("physical", "published", "blur", "anisotropic", "isotropic", "blur-noise", "learned"),)
"""Degradations to be trained for, as recipes call them.  ``physical`` and ``published``: blur,
resize, noise and JPEG, twice, with the arithmetic of real files or of the published code.
``blur``: uneven Gaussian kernels of any direction, as KernelDAN draws them; ``anisotropic``: as
DANv1 does.  ``isotropic``: round ones.  ``blur-noise``: those and Gaussian noise.  ``learned``:
from low-quality pictures of the user's own."""

TILINGS = ("exact", "local", "blended")
LAYOUTS = ("two-stage", "blur")

Check = Callable[[Any, str], Iterator[str]]
"""From a value and its place in the document to sentences about what is wrong with it."""


def problems(document: Any) -> list[str]:
    """All that is wrong with a manifest, each with its place; empty for a valid one.

    Args:
        document: The parsed JSON.
    """
    found = list(_DOCUMENT(document, ""))
    return found or [*_names(document["models"])]


def _text(value: Any, place: str) -> Iterator[str]:
    if not isinstance(value, str) or not value.strip():
        yield f"{place} is {value!r}, not a text"


def _whole(least: int) -> Check:
    def check(value: Any, place: str) -> Iterator[str]:
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            yield f"{place} is {value!r}, not a whole number from {least}"

    return check


def _number(value: Any, place: str) -> Iterator[str]:
    if not isinstance(value, int | float) or isinstance(value, bool):
        yield f"{place} is {value!r}, not a number"


def _pattern(expression: str, words: str) -> Check:
    def check(value: Any, place: str) -> Iterator[str]:
        if not isinstance(value, str) or not re.fullmatch(expression, value):
            yield f"{place} is {value!r}, not {words}"

    return check


def _one_of(*values: Any) -> Check:
    def check(value: Any, place: str) -> Iterator[str]:
        if value not in values:
            yield f"{place} is {value!r}, not one of {', '.join(map(repr, values))}"

    return check


def _or_null(inner: Check) -> Check:
    def check(value: Any, place: str) -> Iterator[str]:
        if value is not None:
            yield from inner(value, place)

    return check


def _list(inner: Check) -> Check:
    def check(value: Any, place: str) -> Iterator[str]:
        if not isinstance(value, list):
            yield f"{place} is {value!r}, not a list"
            return
        for index, item in enumerate(value):
            name = item.get("name") if isinstance(item, dict) else None
            label = f"'{name}'" if isinstance(name, str) else index
            yield from inner(item, f"{place}[{label}]")

    return check


def _map(inner: Check) -> Check:
    def check(value: Any, place: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{place} is {value!r}, not an object"
            return
        for key, item in value.items():
            yield from inner(item, f"{place}.{key}")

    return check


def _record(fields: Mapping[str, Check], more: Check | None = None) -> Check:
    """An object with all of these fields, and no others unless they pass ``more``."""

    def check(value: Any, place: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{place or 'the manifest'} is {value!r}, not an object"
            return
        dot = f"{place}." if place else ""
        for key in (key for key in fields if key not in value):
            yield f"{dot}{key} is missing"
        for key, item in value.items():
            if key in fields:
                yield from fields[key](item, f"{dot}{key}")
            elif more is not None:
                yield from more(item, f"{dot}{key}")
            else:
                near = difflib.get_close_matches(key, fields, 1)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                yield f"{dot}{key} is unknown{hint}"

    return check


def _range(value: Any, place: str) -> Iterator[str]:
    whole = isinstance(value, list) and len(value) == 2
    if not whole or any(True for side in value for _ in _number(side, place)):
        yield f"{place} is {value!r}, not a pair of numbers"
    elif value[0] > value[1]:
        yield f"{place} is {value!r}, which ends before it begins"


def _any(value: Any, place: str) -> Iterator[str]:
    yield from ()


_DATE = _pattern(r"\d{4}-\d\d-\d\d", "a date like 2026-01-31")
_NAME = _pattern(r"[a-z0-9]+(-[a-z0-9]+)*", "a name of small letters, digits and hyphens")

_SHA256 = _pattern(r"[0-9a-f]{64}", "a sha256 of 64 hex digits")

_WEIGHTS = _record(
    {
        "bundled": _or_null(_pattern(r"[\w.-]+\.safetensors", "a .safetensors file name")),
        "hub": _or_null(
            _record(
                {
                    "repo": _pattern(r"[\w.-]+/[\w.-]+", "of the form owner/name"),
                    "file": _pattern(r"[\w.-]+(/[\w.-]+)*", "a path within a repository"),
                    "revision": _pattern(r"[0-9a-f]{40}", "a full commit of 40 hex digits"),
                }
            )
        ),
        "sha256": _SHA256,
        "bytes": _whole(1),
        "numbers_sha256": _SHA256,
    }
)

_PAPER = _record(
    {
        "title": _text,
        "authors": _text,
        "year": _whole(1990),
        "url": _or_null(_pattern(r"https://\S+", "an https address")),
        "figures": _list(_record({"data": _text}, more=_number)),
    }
)

_MODEL = _record(
    {
        "name": _NAME,
        "aliases": _list(_NAME),
        "purpose": _text,
        "network": _text,
        "options": _map(_any),
        "scale": _whole(1),
        "tiling": _one_of(*TILINGS),
        "degradation": _or_null(_one_of(*LAYOUTS)),
        "preset": _one_of(*PRESETS),
        "ranges": _map(_range),
        "weights": _or_null(_WEIGHTS),
        "licence": _or_null(_text),
        "authors": _or_null(_text),
        "paper": _PAPER,
        "recipe": _NAME,
        "training": _map(_any),
        "figures": _list(
            _record(
                {
                    "protocol": _text,
                    "data": _text,
                    "date": _DATE,
                    "seed": _whole(0),
                    "cases": _whole(1),
                },
                more=_number,
            )
        ),
        "estimate": _map(_record({"correlation": _number, "error": _number}, more=_number)),
    }
)

_DOCUMENT = _record({"version": _one_of(SCHEMA_VERSION), "models": _list(_MODEL)})


def _names(models: list[dict[str, Any]]) -> Iterator[str]:
    """What only a look at a whole entry, or at all of them, tells."""
    taken: dict[str, str] = {}
    for model in models:
        place = f"models['{model['name']}']"
        for name in (model["name"], *model["aliases"]):
            if name in taken:
                yield f"{place} is called '{name}', which {taken[name]} is called already"
            taken[name] = place
        if model["options"].get("scale", model["scale"]) != model["scale"]:
            yield f"{place}.scale is {model['scale']}, but options.scale is another"
        weights = model["weights"]
        if weights is None:
            for key in ("licence", "authors"):
                if model[key] is not None:
                    yield f"{place}.{key} is of weights, of which there are none"
            if model["figures"] or model["estimate"] or model["training"]:
                yield f"{place} has figures of weights, of which there are none"
        elif not weights["bundled"] and not weights["hub"]:
            yield f"{place}.weights are neither bundled nor on the Hub"
        elif not model["licence"] or not model["authors"]:
            yield f"{place}.licence and authors are missing, but there are weights"
