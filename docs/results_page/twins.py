"""What an Estimator is worth: a model against the same body without one, picture by picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from results_page.stored import Answer
from results_page.tables import table
from sr_cli.metrics.gains import differences
from sr_cli.metrics.published import published

THIRDS = ("least", "middle", "most")


@dataclass(frozen=True)
class Pair:
    """What a model and its twin gain over bicubic interpolation, PSNR-Y in dB by picture."""

    ours: np.ndarray
    twins: np.ndarray

    @property
    def ahead(self) -> np.ndarray:
        """What the model has over its twin."""
        return self.ours - self.twins

    def part(self, which: np.ndarray) -> Pair:
        """Some of the pictures."""
        return Pair(self.ours[which], self.twins[which])


def shares(model: str, answers: Sequence[Answer]) -> str:
    """How far a model is ahead of its twin, in decibels and as a share of all that it gains.

    By data set, then over all pictures in thirds of equal size by how much there is to gain: by
    what both gain on average, since what one of them gains goes up with its own luck.

    Args:
        model: Its name in the manifest.
        answers: Evaluations of it and its twin.
    """
    pairs = [(answer["data"], _pair(answer)) for answer in answers]
    every = Pair(
        np.concatenate([pair.ours for _, pair in pairs]),
        np.concatenate([pair.twins for _, pair in pairs]),
    )
    order = np.argsort(every.ours + every.twins, kind="stable")
    thirds = [every.part(which) for which in np.array_split(order, len(THIRDS))]
    rows = [_row(name, pair) for name, pair in pairs]
    rows += [_row(f"all: {name} to gain", one) for name, one in zip(THIRDS, thirds, strict=True)]
    rows.append(_row("all", every))
    rows += _papers(model)
    columns = ("pictures", "cases", "over bicubic, dB", "over the twin, dB", "share of the gain")
    return table(columns, rows)


def _pair(answer: Answer) -> Pair:
    ours, twins = (m for m in answer["methods"] if m != "bicubic")
    if ours.startswith("edsr"):
        ours, twins = twins, ours
    gains = [differences(answer["pictures"], method) for method in (ours, twins)]
    names = sorted(gains[0].keys() & gains[1].keys())
    return Pair(*(np.array([gain[name] for name in names]) for gain in gains))


def _row(name: str, pair: Pair) -> tuple[object, ...]:
    ahead, count = pair.ahead, len(pair.ahead)
    error = ahead.std(ddof=1) / count**0.5
    gain = pair.ours.mean()
    shown = f"{ahead.mean():.3f} ± {error:.3f}"
    return name, count, f"{gain:.2f}", shown, f"{ahead.mean() / gain:.0%}"


def _papers(model: str) -> list[tuple[object, ...]]:
    """The same of published figures, where a paper has all three on one set of pictures."""
    entries = {
        (e.model, e.protocol, e.scale, e.data): e
        for e in published()
        if "psnr_y" in e.values and not e.condition
    }
    rows: list[tuple[object, ...]] = []
    for (name, *where), entry in entries.items():
        twin = entries.get((model.replace("dan", "edsr"), *where))
        bicubic = entries.get(("bicubic", *where))
        if name != model or twin is None or bicubic is None:
            continue
        ours, others, plain = (e.values["psnr_y"] for e in (entry, twin, bicubic))
        ahead, gain = ours - others, ours - plain
        place = f"{entry.data} ({entry.source})"
        rows.append((place, "", f"{gain:.2f}", f"{ahead:.2f}", f"{ahead / gain:.0%}"))
    return rows
