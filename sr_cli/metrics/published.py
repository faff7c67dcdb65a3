"""The papers' own figures, kept as data with their source tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any


@dataclass(frozen=True)
class Published:
    """What a paper reports of one method on one data set."""

    model: str
    """As in the manifest, ``bicubic``, or a variant: ``NAME T=2``, ``NAME truth given``."""
    protocol: str
    scale: int
    data: str
    """The data set, named as its folder is."""
    values: Mapping[str, float]
    """By the names of `sr_cli.metrics.figures.FIGURES`."""
    source: str
    """Paper and table."""
    condition: str = ""
    note: str = ""
    """What stands between these figures and ours."""


@dataclass(frozen=True)
class Comparison:
    """One of our figures beside the paper's."""

    method: str
    condition: str
    measure: str
    """A name of `sr_cli.metrics.figures.FIGURES`."""
    ours: float | None
    paper: float
    data: str
    """The paper's data set."""
    same_data: bool
    """Whether ours is of the same pictures; if not, a difference would say nothing."""
    source: str
    note: str

    @property
    def difference(self) -> float | None:
        """Ours less the paper's, where the two are comparable."""
        return self.ours - self.paper if self.ours is not None and self.same_data else None


@dataclass(frozen=True)
class _DataSet:
    """What a data set is known by, whatever the format of its files."""

    pictures: int
    pairs: bool = False
    """Whether its low-resolution pictures belong to it, as here they cannot be made."""


_DATA_SETS = {
    "Set5": _DataSet(5),
    "Set14": _DataSet(14),
    "B100": _DataSet(100),
    "Urban100": _DataSet(100),
    "Manga109": _DataSet(109),
    "DIV2KRK": _DataSet(100, pairs=True),
    "NTIRE2017Track2": _DataSet(100, pairs=True),
    "NTIRE2018Track2": _DataSet(100, pairs=True),
    "NTIRE2018Track4": _DataSet(100, pairs=True),
    "NTIRE2020Track1": _DataSet(100, pairs=True),
}
"""Of the papers; DIV2K-Real is not public, so nobody else's pictures are the same."""
_ALIASES = {"bsd100": "b100", "bsds100": "b100"}


def described(data: str) -> str:
    """A paper's data set with how large it is, as far as that is known."""
    if data not in _DATA_SETS:
        return data
    one = _DATA_SETS[data]
    return f"{data} ({one.pictures} {'pairs' if one.pairs else 'pictures'})"


@cache
def published() -> tuple[Published, ...]:
    """All figures, in the order of the file."""
    path = resources.files("sr_cli.metrics") / "published.json"
    return tuple(Published(**entry) for entry in json.loads(path.read_text(encoding="utf-8")))


def compare(answer: Mapping[str, Any]) -> list[Comparison]:
    """The papers' figures beside those of one evaluation.

    Figures of the data set that the folder is called if there are any; else those of the one other
    set that a paper reports under this protocol, for orientation.  The pictures are taken to be the
    same where the folder is called as the set, has as many, and none of them failed.  Their
    contents are not asked for: sets go about in several formats.

    Args:
        answer: As `sr-cli evaluate --json` prints it.
    """
    found: list[Comparison] = []
    for method in answer["methods"]:
        for entry in _entries(method, answer):
            means = answer["methods"]
            if entry.condition:
                means = answer.get("conditions", {}).get(entry.condition, {})
            ours = means.get(method, {})
            found += [
                Comparison(
                    method,
                    entry.condition,
                    measure,
                    ours.get(measure),
                    value,
                    entry.data,
                    _same(entry.data, answer),
                    entry.source,
                    entry.note,
                )
                for measure, value in entry.values.items()
            ]
    return found


def _entries(method: str, answer: Mapping[str, Any]) -> list[Published]:
    protocol = answer["protocol"].removesuffix("-published")
    known = [
        entry
        for entry in published()
        if (entry.model, entry.protocol, entry.scale) == (method, protocol, answer["scale"])
    ]
    named = [entry for entry in known if _called(entry.data) == _called(answer["data"])]
    if named:
        return named
    return known if len({entry.data for entry in known}) == 1 else []


def _same(data: str, answer: Mapping[str, Any]) -> bool:
    """Whether an evaluation was of a paper's pictures, all of them and no others."""
    known = _DATA_SETS.get(data)
    return (
        known is not None
        and _called(data) == _called(answer["data"])
        and known.pictures == len(answer["pictures"])
        and known.pairs == (answer.get("low_resolution") == "given")
        and not answer["failed"]
    )


def _called(name: str) -> str:
    return _ALIASES.get(name.lower(), name.lower())
