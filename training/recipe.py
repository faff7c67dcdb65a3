"""Recipes: everything that decides what a training run learns, in one TOML file a model."""

from __future__ import annotations

import difflib
import json
import math
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

from sr_cli.degradation.two_stage import SMALLEST_SIDE
from sr_cli.networks.registry import FAMILIES
from training.ranges import out_of_range
from training.schema import Data, Network, Phase, Recipe
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
        near = difflib.get_close_matches(name_or_path, recipe_names(), 3, 0.3)
        hint = near or recipe_names()
        raise RecipeError(f"There is no recipe '{name_or_path}'. Try {', '.join(hint)}.")
    file = resources.files("training") / "recipes" / f"{name_or_path}.toml"
    return file.read_text(encoding="utf-8")


def shown(recipe: Recipe) -> str:
    """A recipe as TOML, whole: with all that it extends and every default."""
    table = asdict(recipe)
    network = table.pop("network")
    table["network"] = {"family": network["family"], **network["options"]}
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
    _check(recipe, source)
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
    if base.endswith(".toml"):
        base = str(Path(name_or_path).parent / base)
    return _laid_over(_table(base, (*children, identity)), table)


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


def _check_sides(recipe: Recipe, source: str) -> None:
    """Whether all crops are large enough to be degraded."""
    scale = recipe.network.scale
    smallest = 8 * scale
    if recipe.data.degradation == "two-stage":
        smallest = SMALLEST_SIDE
    elif recipe.data.degradation != "blur":  # edges are reflected by half a kernel
        smallest = max(smallest, recipe.data.kernel // 2 + 1)
    sides = {f"phase.{i}.lr_crop": recipe.crop(phase) for i, phase in enumerate(recipe.phase)}
    sides["validation.crop"] = recipe.validation.side(scale)
    for key, side in sides.items():
        if side < smallest:
            raise RecipeError(
                f"{source}: '{key}' makes crops of {side} pixels, margins included; this "
                f"degradation needs {smallest}."
            )


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


def _check(recipe: Recipe, source: str) -> None:
    """What the types alone do not say."""
    if not recipe.phase:
        raise RecipeError(f"{source}: a recipe needs at least one [[phase]].")
    if not re.fullmatch(r"[\w.-]+", recipe.model):
        raise RecipeError(f"{source}: 'model' names a file, so '{recipe.model}' cannot be.")
    for sentence in out_of_range(recipe):
        raise RecipeError(f"{source}: {sentence}.")
    for index, phase in enumerate(recipe.phase):
        where = f"{source}: 'phase.{index}"
        if not 0 <= phase.shift <= phase.margin:
            raise RecipeError(f"{where}.shift' must be from 0 to the margin, not {phase.shift}.")
        if phase.batch % phase.accumulate:
            raise RecipeError(f"{where}.batch' must be a multiple of its 'accumulate'.")
        if phase.iterations is not None and "iterations" not in recipe.network.options:
            raise RecipeError(f"{where}.iterations': {recipe.network.family} has no iterations.")
        if phase.trains != "all" and recipe.network.family != "DAN":
            part = phase.trains.capitalize()
            raise RecipeError(f"{where}.trains': only DAN's {part} can be trained alone.")
        if not _learns(recipe, phase):
            which = "" if phase.trains == "all" else f" that train the {phase.trains}"
            raise RecipeError(
                f"{where}': all weights of [loss]{which} are 0: nothing would be learned."
            )
    _check_sides(recipe, source)
    for key in ("sigma", "noise"):
        span = getattr(recipe.data, key)
        if len(span) != 2:
            raise RecipeError(f"{source}: 'data.{key}' must be a list of two numbers, from and to.")
        if not (0 <= span[0] <= span[1] < math.inf) or (key == "sigma" and span[0] == 0):
            raise RecipeError(
                f"{source}: 'data.{key}' must be from a small number to a larger one, "
                f"{'above' if key == 'sigma' else 'not below'} 0, not {list(span)}."
            )
    if not all(0 < fraction < 1 for fraction in recipe.data.shrunk):
        raise RecipeError(
            f"{source}: 'data.shrunk' must be fractions between 0 and 1, not "
            f"{list(recipe.data.shrunk)}."
        )
    if not 0 <= recipe.data.mild <= 1:
        raise RecipeError(f"{source}: 'data.mild' must be from 0 to 1, not {recipe.data.mild:g}.")
    if recipe.data.kernel % 2 == 0:
        raise RecipeError(f"{source}: 'data.kernel' must be odd, not {recipe.data.kernel}.")
    if recipe.data.degradation == "blur" and recipe.network.scale not in (2, 4):
        raise RecipeError(f"{source}: the degradation 'blur' exists for the scales 2 and 4 only.")
    for sentence in _without_effect(recipe):
        raise RecipeError(f"{source}: {sentence}.")


def _without_effect(recipe: Recipe) -> Iterator[str]:
    """Sentences, without a full stop, about what was set and would be ignored."""
    data, usual = recipe.data, Data()
    ranged = data.degradation not in ("two-stage", "blur")
    for key in ("kernel", "sigma", "noise"):
        if not ranged and getattr(data, key) != getattr(usual, key):
            yield (
                f"'data.{key}' is not of the degradation '{data.degradation}', whose ranges are "
                "the published ones"
            )
    if data.mild and data.degradation != "two-stage":
        yield "'data.mild' is of the degradation 'two-stage' only"
    if recipe.loss.emphasis != 1 and not recipe.loss.emphasised:
        yield "'loss.emphasis' needs to be told of which numbers: 'loss.emphasised'"
    for number, phase in enumerate(recipe.phase):
        if recipe.network.family == "DMSR" and phase.margin:
            # It degrades the crop anew, whose surroundings are gone by then.
            yield f"'phase.{number}.margin': DMSR's losses need whole crops, without a margin"


def _learns(recipe: Recipe, phase: Phase) -> bool:
    """Whether any term of the loss has something to say to what a phase trains."""
    loss = recipe.loss
    picture = loss.l1, loss.rmse, loss.perceptual, loss.gan
    others = loss.detail, loss.reconstruction, loss.consistency
    estimate = loss.vector, loss.shape
    if phase.trains == "estimator":
        return any(estimate)
    if phase.trains == "restorer":
        return any(picture)
    estimates = recipe.network.family in ("DAN", "DANv1", "DANv2")
    return any((*picture, *others)) or (estimates and any(estimate))
