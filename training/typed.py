"""Frozen dataclasses and constructors' keywords from parsed TOML, every mistake explained."""

from __future__ import annotations

import difflib
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar

T = TypeVar("T")

LARGEST = 2**31 - 1
"""Of whole numbers: what is larger would only fail where it is used."""


class RecipeError(Exception):
    """A recipe that cannot be read; the message names the file, the key and what would do."""


def build(kind: type[T], table: Mapping[str, Any], source: str, where: str = "") -> T:
    """A dataclass from a table, with unknown, missing and ill-typed keys as errors.

    Args:
        kind: The dataclass.
        table: As TOML gives it; values that are dataclasses already stay.
        source: Name of the file, for messages.
        where: What stands before the keys in messages, with its dot.

    Raises:
        RecipeError: The table does not fit.
    """
    assert is_dataclass(kind)
    types_of = typing.get_type_hints(kind)
    _refuse_unknown(table, types_of, source, where)
    values: dict[str, Any] = {}
    for item in fields(kind):
        if item.name in table:
            value = table[item.name]
            values[item.name] = _typed(types_of[item.name], value, source, where + item.name)
        elif item.default is MISSING and item.default_factory is MISSING:
            raise RecipeError(f"{source}: the key '{where}{item.name}' is missing.")
    return kind(**values)


def keywords(
    constructor: Callable[..., Any], table: Mapping[str, Any], source: str, where: str
) -> dict[str, Any]:
    """All keywords of a constructor: the table's where it has them, else the defaults.

    Raises:
        RecipeError: The table does not fit the constructor's signature.
    """
    function = constructor.__init__ if inspect.isclass(constructor) else constructor
    types_of = typing.get_type_hints(function)
    parameters = inspect.signature(constructor).parameters
    _refuse_unknown(table, parameters, source, where)
    values: dict[str, Any] = {}
    for name, parameter in parameters.items():
        if name in table:
            values[name] = _typed(types_of[name], table[name], source, where + name)
        elif parameter.default is not parameter.empty:
            values[name] = parameter.default
        else:
            raise RecipeError(f"{source}: the key '{where}{name}' is missing.")
    return values


def _refuse_unknown(
    table: Mapping[str, Any], known: Mapping[str, Any], source: str, where: str
) -> None:
    for key in table:
        if key not in known:
            hint = did_you_mean(key, known, where)
            raise RecipeError(f"{source}: unknown key '{where}{key}'.{hint}")


def did_you_mean(name: str, known: Iterable[str], where: str = "") -> str:
    """A question to end a message with, and the space before it; empty if nothing is near.

    Args:
        name: What was asked for.
        known: What there is.
        where: What stands before the names in messages, with its dot.
    """
    near = difflib.get_close_matches(name, list(known), 1, 0.4)
    return f" Did you mean '{where}{near[0]}'?" if near else ""


def _typed(kind: Any, value: Any, source: str, where: str) -> Any:
    if is_dataclass(kind):
        if isinstance(value, dict):
            return build(typing.cast("type", kind), value, source, where + ".")
        if isinstance(kind, type) and isinstance(value, kind):
            return value
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        kind = next(k for k in typing.get_args(kind) if k is not type(None))
        origin = typing.get_origin(kind)
    if origin in (tuple, list) and isinstance(value, list | tuple):
        inner = typing.get_args(kind)[0]
        return origin(_typed(inner, v, source, f"{where}.{i}") for i, v in enumerate(value))
    if origin is Literal and value in typing.get_args(kind):
        return value
    if isinstance(value, int) and abs(value) > LARGEST:
        raise RecipeError(f"{source}: '{where}' must be at most {LARGEST}, not {value}.")
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
