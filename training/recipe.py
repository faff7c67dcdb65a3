"""Recipes: everything that decides what a training run learns, in one TOML file a model."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

from sr_cli.networks.registry import FAMILIES
from training.checks import check
from training.schema import Network, Recipe
from training.typed import RecipeError, build, keywords

__all__ = ["Recipe", "RecipeError", "load_recipe", "recipe_names", "recipe_text", "shown"]


def recipe_names() -> list[str]:
    """The bundled recipes."""
    folder = resources.files("training") / "recipes"
    return sorted(
        p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml")
    )


def recipe_text(name_or_path: str) -> str:
    """The TOML of a recipe as it is written.

    Args:
        name_or_path: A bundled recipe's name or the path of a TOML file.

    Raises:
        RecipeError: There is none, or it cannot be read.
    """
    if name_or_path.endswith(".toml"):
        path = Path(name_or_path)
        try:
            return path.read_text(encoding="utf-8")
        except OSError as error:
            raise RecipeError(f"Cannot read the recipe {path}: {error.strerror}.") from None
        except UnicodeDecodeError:
            raise RecipeError(f"Cannot read the recipe {path}: it is not UTF-8.") from None
    if name_or_path not in recipe_names():
        raise RecipeError(f"There is no recipe '{name_or_path}'. {_hint(name_or_path)}")
    file = resources.files("training") / "recipes" / f"{name_or_path}.toml"
    return file.read_text(encoding="utf-8")


def _hint(name: str) -> str:
    """What somebody may have meant who named no recipe."""
    path = Path(name)
    if path.is_dir():
        return f"That is a folder: photographs are named by --data {name}"
    if path.is_file():
        return "Files of recipes end in .toml."
    near = difflib.get_close_matches(name, recipe_names(), 3, 0.3)
    return f"Try {', '.join(near)}." if near else "`sr-cli train --list` names them all."


def shown(recipe: Recipe) -> str:
    """A recipe as TOML, whole: with all that it extends and every default."""
    table = asdict(recipe)
    network = table.pop("network")
    given = {key: value for key, value in network["options"].items() if value is not None}
    table["network"] = {"family": network["family"], **given}
    phases = table.pop("phase")
    lines = [_line(key, value) for key, value in table.items() if not isinstance(value, dict)]
    for name, part in table.items():
        if isinstance(part, dict):
            lines += ["", f"[{name}]", *(_line(key, value) for key, value in part.items())]
    for phase in phases:
        lines += ["", "[[phase]]"]
        lines += [_line(key, value) for key, value in phase.items() if value is not None]
    return "\n".join(lines) + "\n"


def _line(key: str, value: Any) -> str:
    # What JSON and TOML have in common is all that recipes hold; TOML takes no bare DEL.
    text = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return f"{key} = {text}"


def load_recipe(name_or_path: str, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        name_or_path: A bundled recipe's name or the path of a TOML file.
        changes: ``key=value`` with dots into tables and numbers into lists, value as in TOML:
            ``data.reuse=2``, ``phase.0.steps=100``.

    Raises:
        RecipeError: Unknown name, unreadable file, unknown or ill-typed key.
    """
    table = _table(name_or_path, ())
    for change in changes:
        _change(table, change)
    source = name_or_path
    table["network"] = _network(table.get("network", {}), source)
    recipe = build(Recipe, table, source)
    check(recipe, source)
    return recipe


def _table(name_or_path: str, children: tuple[str, ...]) -> dict[str, Any]:
    """The recipe's table, laid over that of the recipe that it extends."""
    is_file = name_or_path.endswith(".toml")
    identity = str(Path(name_or_path).resolve()) if is_file else name_or_path
    if identity in children:
        raise RecipeError(f"{children[0]}: the recipes extend each other in a circle.")
    try:
        table = tomllib.loads(recipe_text(name_or_path))
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{name_or_path} is not valid TOML: {error}.") from None
    base = table.pop("extends", None)
    if base is None:
        return table
    if not isinstance(base, str):
        raise RecipeError(f"{name_or_path}: 'extends' must be a text, not {base!r}.")
    if is_file:  # or its runs would be taken for those of what it extends
        table.setdefault("name", Path(name_or_path).stem)
    if base.endswith(".toml"):
        base = str(Path(name_or_path).parent / base)
    below = _table(base, (*children, identity))
    if _family(table) not in (None, _family(below)):
        below["network"] = {}  # keywords of another family's constructor
    return _laid_over(below, table)


def _family(table: dict[str, Any]) -> Any:
    """The network's family as a table names it; None if it does not."""
    network = table.get("network")
    return network.get("family") if isinstance(network, dict) else None


def _laid_over(base: dict[str, Any], table: dict[str, Any]) -> dict[str, Any]:
    """Tables are joined, everything else (lists of phases too) is replaced."""
    joined = dict(base)
    for key, value in table.items():
        below = joined.get(key)
        both = isinstance(value, dict) and isinstance(below, dict)
        joined[key] = _laid_over(below, value) if both else value  # type: ignore[arg-type]
    return joined


def _change(table: dict[str, Any], change: str) -> None:
    key, separator, value = change.partition("=")
    if not separator:
        raise RecipeError(f"'{change}' is not of the form key=value.")
    try:
        parsed = tomllib.loads(f"x = {value}")["x"]
    except tomllib.TOMLDecodeError:
        parsed = value
    *path, last = key.strip().split(".")
    place: Any = table
    try:
        for part in path:
            place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
        place[int(last) if isinstance(place, list) else last] = parsed
    except (IndexError, ValueError, TypeError, AttributeError):
        raise RecipeError(f"'{key}' leads nowhere in this recipe.") from None


def _network(table: Any, source: str) -> Network:
    if not isinstance(table, dict):
        raise RecipeError(f"{source}: 'network' must be a table, not {table!r}.")
    options = dict(table)
    name = options.pop("family", "DAN")
    families = {family.name: family for family in FAMILIES}
    if not isinstance(name, str) or name not in families:
        known = ", ".join(families)
        raise RecipeError(f"{source}: 'network.family' must be one of {known}, not {name!r}.")
    return Network(name, keywords(families[name].build, options, source, "network."))
