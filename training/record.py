"""The recipe as a run was started by, kept in its folder: what was changed by hand is not lost."""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sr_cli.temporary import replacing
from training.recipe import RecipeError, load_recipe, shown
from training.schema import Recipe

RECORD = "recipe.toml"
"""Within a run's folder; a recipe like any other, with nothing left to extend."""
_MISSING = object()


def write(folder: Path, recipe: Recipe) -> None:
    """Keep a recipe, whole, in the place of what the folder kept before.

    Raises:
        OSError: It cannot be written; what was there is untouched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / RECORD) as file:
        file.write(shown(recipe).encode())


def changes(folder: Path, recipe: Recipe) -> list[str]:
    """What differs between a recipe and the one that a folder keeps.

    Returns:
        Lines like ``phase.0.batch = 16, was 8``; empty too where the folder keeps none that can be
        read: those of earlier versions do not.
    """
    with contextlib.suppress(RecipeError):
        before, now = (
            dict(_flat(tomllib.loads(shown(some))))
            for some in (load_recipe(str(folder / RECORD)), recipe)
        )
        return [
            f"{key} = {_said(now, key)}, was {_said(before, key)}"
            for key in sorted(before.keys() | now.keys())
            if before.get(key, _MISSING) != now.get(key, _MISSING)
        ]
    return []


def _said(values: Mapping[str, Any], key: str) -> str:
    return repr(values[key]) if key in values else "not there"


def _flat(value: Any, where: str = "") -> list[tuple[str, Any]]:
    """Every value with the key by which ``--set`` reaches it."""
    if isinstance(value, Mapping):
        inner = list(value.items())
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        inner = [(str(number), item) for number, item in enumerate(value)]
    else:
        return [(where.removeprefix("."), value)]
    return [pair for key, item in inner for pair in _flat(item, f"{where}.{key}")]
