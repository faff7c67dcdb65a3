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
    """By the names of `sr_cli.metrics.evaluation.KEYS`."""
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
    """A name of `sr_cli.metrics.evaluation.KEYS`."""
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


@cache
def published() -> tuple[Published, ...]:
    """All figures, in the order of the file."""
    path = resources.files("sr_cli.metrics") / "published.json"
    return tuple(Published(**entry) for entry in json.loads(path.read_text(encoding="utf-8")))


def compare(answer: Mapping[str, Any]) -> list[Comparison]:
    """The papers' figures beside those of one evaluation.

    Figures of the same data set if there are any; else those of the one other set that a paper
    reports under this protocol, for orientation.

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
                    _same(entry.data, answer["data"]),
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
    same = [entry for entry in known if _same(entry.data, answer["data"])]
    if same:
        return same
    return known if len({entry.data for entry in known}) == 1 else []


def _same(paper: str, folder: str) -> bool:
    aliases = {"bsd100": "b100", "bsds100": "b100"}
    one, other = (name.lower() for name in (paper, folder))
    return aliases.get(one, one) == aliases.get(other, other)
