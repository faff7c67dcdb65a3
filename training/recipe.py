"""Recipes: everything that decides what a training run learns, in one TOML file a model."""

from __future__ import annotations

import difflib
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

from sr_cli.degradation.two_stage import Preset
from sr_cli.networks.dan import BlockName, EstimatorSize

T = TypeVar("T")


class RecipeError(Exception):
    """A recipe that cannot be read; the message names the file, the key and what would do."""


@dataclass(frozen=True)
class Network:
    """Options of `sr_cli.networks.dan.DAN`; the iterations are the phases' to set."""

    scale: int = 4
    degradation_size: int = 42
    features: int = 64
    blocks: int = 16
    block: BlockName = "edsr"
    estimator: EstimatorSize = "small"


@dataclass(frozen=True)
class Start:
    """How the network is initialised."""

    high_pass_filters: float = 0.0
    """Share of the image head's filters that start with zero mean and `high_pass_gain`: the traces
    the Estimator looks for are high frequencies, its usual input is brightness."""
    high_pass_gain: float = 4.0
    estimator_gain: float = 1.0
    """Factor on the weights of the Estimator's 3x3 convolutions; sqrt(6) makes torch's start He's,
    at which signals keep their size from layer to layer."""
    residual_gain: float = 1.0
    """Factor on the last convolution of every residual block of the Restorer."""


@dataclass(frozen=True)
class Data:
    """How pairs are drawn."""

    degradation: Literal["two-stage"] = "two-stage"
    preset: Preset = "physical"
    pool: int = 256
    """Pairs kept to mix batches from (RealDAN's queue)."""
    reuse: int = 1
    """Times a pair is used on average; 1 as published."""


@dataclass(frozen=True)
class Loss:
    """Weights of the terms; the picture's L1 has weight 1."""

    vector: float = 1.0
    """Weight of the mean squared error of the degradation vector."""
    standardised: bool = False
    """Divide each number's error by its standard deviation over the degradation model."""


@dataclass(frozen=True)
class Optimiser:
    """Adam and what follows it."""

    beta1: float = 0.9
    beta2: float = 0.999
    clip: float = 0.0
    """Largest norm of the gradient as a multiple of its moving average; 0 for no limit.  One freak
    batch, of which the degradation model makes some, can otherwise undo thousands of steps."""
    ema: float = 0.999
    """Decay of the weights' moving average."""


@dataclass(frozen=True)
class Phase:
    """A stretch of training with one batch shape and one constant rate."""

    steps: int
    batch: int
    lr_crop: int
    """Side of a low-resolution crop; the high-resolution one is ``scale`` times that."""
    learning_rate: float
    iterations: int = 3
    """T of the network from here on; raised by `training.unroll` where the last phase had less."""
    trains: Literal["all", "estimator"] = "all"
    """``"estimator"``: the first iteration's estimate alone, without the Restorer."""
    warmup: int = 0
    """Steps over which the rate rises from zero."""
    halve_at: tuple[int, ...] = ()
    """Steps within the phase at which the rate is halved (the papers' schedules)."""


@dataclass(frozen=True)
class Validation:
    """Measuring during the run, on crops of held-out pictures degraded once with a fixed seed."""

    every: int = 5000
    crop: int = 256
    """Side of the high-resolution crop from each picture's centre."""
    degradations: int = 4
    """Different degradations of each crop."""


@dataclass(frozen=True)
class Recipe:
    """A whole run."""

    name: str
    model: str
    """Name of the model in the manifest that this recipe makes."""
    phase: tuple[Phase, ...]
    description: str = ""
    seed: int = 0
    decay_steps: int = 0
    """Steps after the last phase over which the rate falls to zero, branched from the state that
    later runs resume."""
    network: Network = field(default_factory=Network)
    start: Start = field(default_factory=Start)
    data: Data = field(default_factory=Data)
    loss: Loss = field(default_factory=Loss)
    optimiser: Optimiser = field(default_factory=Optimiser)
    validation: Validation = field(default_factory=Validation)

    @property
    def stable_steps(self) -> int:
        """Steps of all phases together."""
        return sum(phase.steps for phase in self.phase)


def recipe_names() -> list[str]:
    """The bundled recipes."""
    folder = resources.files("training") / "recipes"
    return sorted(
        p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml")
    )


def load_recipe(name_or_path: str, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        name_or_path: A bundled recipe's name or the path of a TOML file.
        changes: ``key=value`` with dots into tables and numbers into lists, value as in TOML:
            ``data.reuse=2``, ``phase.0.steps=100``.

    Raises:
        RecipeError: Unknown name, unreadable file, unknown or ill-typed key.
    """
    if name_or_path.endswith(".toml"):
        source, path = name_or_path, Path(name_or_path)
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise RecipeError(f"Cannot read the recipe {path}: {error.strerror}.") from None
    else:
        source = name_or_path
        if name_or_path not in recipe_names():
            near = difflib.get_close_matches(name_or_path, recipe_names(), 3, 0.3)
            hint = near or recipe_names()
            raise RecipeError(f"There is no recipe '{name_or_path}'. Try {', '.join(hint)}.")
        file = resources.files("training") / "recipes" / f"{name_or_path}.toml"
        text = file.read_text(encoding="utf-8")
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{source} is not valid TOML: {error}.") from None
    for change in changes:
        _change(table, change)
    recipe = _build(Recipe, table, source, "")
    if not recipe.phase:
        raise RecipeError(f"{source}: a recipe needs at least one [[phase]].")
    return recipe


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


def _build(kind: type[T], table: Mapping[str, Any], source: str, where: str) -> T:
    """A dataclass from a table, with unknown, missing and ill-typed keys as errors."""
    assert is_dataclass(kind)
    types_of = typing.get_type_hints(kind)
    for key in table:
        if key not in types_of:
            near = difflib.get_close_matches(key, types_of, 1, 0.4)
            hint = f" Did you mean '{where}{near[0]}'?" if near else ""
            raise RecipeError(f"{source}: unknown key '{where}{key}'.{hint}")
    values: dict[str, Any] = {}
    for item in fields(kind):
        if item.name in table:
            value = table[item.name]
            values[item.name] = _typed(types_of[item.name], value, source, where + item.name)
        elif item.default is MISSING and item.default_factory is MISSING:
            raise RecipeError(f"{source}: the key '{where}{item.name}' is missing.")
    return kind(**values)


def _typed(kind: Any, value: Any, source: str, where: str) -> Any:
    if is_dataclass(kind) and isinstance(value, dict):
        return _build(typing.cast("type", kind), value, source, where + ".")
    origin = typing.get_origin(kind)
    if origin is tuple and isinstance(value, list):
        inner = typing.get_args(kind)[0]
        return tuple(_typed(inner, v, source, f"{where}.{i}") for i, v in enumerate(value))
    if origin is Literal and value in typing.get_args(kind):
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, type) and type(value) is kind:
        return value
    wanted = " or ".join(map(repr, typing.get_args(kind))) if origin is Literal else _name(kind)
    raise RecipeError(f"{source}: '{where}' must be {wanted}, not {value!r}.")


def _name(kind: Any) -> str:
    if isinstance(kind, types.GenericAlias):
        return "a list"
    return {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}.get(
        kind, "a table"
    )
