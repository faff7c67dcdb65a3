"""The stored output of runs, and whether the manifest says the same."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sr_cli.metrics.figures import ALWAYS, FIGURES
from sr_cli.zoo.manifest import Model

Answer = dict[str, Any]
"""One object of `sr-cli evaluate --json`."""

OFF_THE_GRID = "real-cropped"
DIGITS = 4
"""Of the manifest's figures."""
FACTS = frozenset({"protocol", "data", "scale", "seed", "cases", "date"})
"""What a figure of the manifest says beside what was measured."""


@dataclass(frozen=True)
class Run:
    """One stored file: what one command printed."""

    name: str
    answers: tuple[Answer, ...]

    @property
    def models(self) -> tuple[str, ...]:
        """Every method but bicubic interpolation, without what a study adds to the name."""
        named = [m for a in self.answers for m in (*a["methods"], *a["skill"]) if m != "bicubic"]
        return tuple(dict.fromkeys(name.split(" ")[0] for name in named))

    @property
    def is_study(self) -> bool:
        """Whether variants of a model are compared."""
        return any(" " in method for answer in self.answers for method in answer["methods"])

    @property
    def command(self) -> str:
        """What gives this file again."""
        first = self.answers[0]
        methods = list(first["methods"])
        words = ["sr-cli evaluate", *(f"--model {name}" for name in self.models or ["bicubic"])]
        words += [f"--data {data}" for data in dict.fromkeys(a["data"] for a in self.answers)]
        words += [f"--protocol {first['protocol']}", f"--seed {first['seed']}"]
        if first["repeats"] > 1:
            words.append(f"--repeats {first['repeats']}")
        turns = [method.split(" T=")[1] for method in methods if " T=" in method]
        if turns:
            words.append(f"--iterations {turns[0]}..{turns[-1]}")
        if any(method.endswith("truth given") for method in methods):
            words.append("--truth")
        if any(method.endswith(" tta") for method in methods):
            words.append("--tta")
        measured = {key for means in first["methods"].values() for key in means}
        asked = measured.difference(ALWAYS.get(first["protocol"], ()))
        options = (figure.option for key, figure in FIGURES.items() if key in asked)
        words += dict.fromkeys(option for option in options if option)
        if not methods:
            words.append("--estimate-only")
        return " ".join([*words, f"--json > docs/results/{self.name}.json"])


def load(folder: Path) -> tuple[Run, ...]:
    """All runs of `sr-cli evaluate` in a folder, by name."""
    runs: list[Run] = []
    for path in sorted(folder.glob("*.json")):
        lines = path.read_text(encoding="utf-8")
        if lines.startswith('{"protocol"'):
            runs.append(Run(path.stem, tuple(json.loads(line) for line in lines.splitlines())))
    return tuple(runs)


def find(runs: Iterable[Run], model: str, figure: Mapping[str, Any]) -> Answer | None:
    """The stored evaluation that a figure of the manifest was taken from."""
    for run in runs:
        for answer in run.answers:
            same = all(answer[key] == figure[key] for key in ("protocol", "data", "seed"))
            if same and model in answer["methods"] and answer["repeats"] == 1:
                return answer
    return None


def estimates(runs: Iterable[Run], model: str) -> Answer | None:
    """The evaluation that a model's skill is taken from: of estimates alone, with most cases."""
    answers = [a for a in _told(runs, model) if a["protocol"] != OFF_THE_GRID]
    return max(answers, key=lambda a: (not a["methods"], a["cases"]), default=None)


def off_the_grid(runs: Iterable[Run], model: str) -> Answer | None:
    """The evaluation of a model's estimates on pictures that were cropped after JPEG."""
    return next((a for a in _told(runs, model) if a["protocol"] == OFF_THE_GRID), None)


def _told(runs: Iterable[Run], model: str) -> list[Answer]:
    """The evaluations that measured a model's estimates."""
    return [a for run in runs for a in run.answers if model in a["skill"]]


def disagreements(models: Iterable[Model], runs: tuple[Run, ...]) -> list[str]:
    """Sentences about every figure of the manifest that no stored run bears out."""
    found: list[str] = []
    for model in models:
        for figure in model.figures:
            found += _figure(model.name, figure, runs)
        if model.estimate:
            found += _estimate(model, runs)
        if model.weights and not model.figures:
            found.append(f"{model.name} has weights, but no figures.")
    return found


def refresh(entry: dict[str, Any], runs: tuple[Run, ...]) -> None:
    """Put what the stored runs say into one model's entry of the manifest's JSON.

    Figures that no run bears out, and skills that no run has, stay as they are.
    """
    for figure in entry["figures"]:
        answer = find(runs, entry["name"], figure)
        if answer is None:
            continue
        figure |= {key: answer[key] for key in ("cases", "date")}
        for key in figure.keys() - FACTS:
            method, measure = _measured(key, entry["name"])
            if measure in answer["methods"][method]:
                figure[key] = round(answer["methods"][method][measure], DIGITS)
    answer = estimates(runs, entry["name"])
    if entry["estimate"] and answer:
        for key, numbers in answer["skill"][entry["name"]].items():
            entry["estimate"].setdefault(key, {}).update(numbers)


def _measured(key: str, model: str) -> tuple[str, str]:
    """Whose figure it is, and of what: ``bicubic_psnr_y`` is bicubic interpolation's."""
    return ("bicubic", key[8:]) if key.startswith("bicubic_") else (model, key)


def _figure(model: str, figure: Mapping[str, Any], runs: tuple[Run, ...]) -> list[str]:
    place = f"{model}, {figure['protocol']} on {figure['data']}"
    answer = find(runs, model, figure)
    if answer is None:
        return [f"{place}: no stored run."]
    found = []
    for key in figure.keys() - FACTS:
        method, measure = _measured(key, model)
        stored = answer["methods"][method].get(measure)
        if stored is None or round(stored, DIGITS) != figure[key]:
            found.append(f"{place}: {key} is {figure[key]} in the manifest, {stored} in the run.")
    if answer["cases"] != figure["cases"]:
        found.append(f"{place}: {figure['cases']} cases in the manifest, {answer['cases']} there.")
    return sorted(found)


def _estimate(model: Model, runs: tuple[Run, ...]) -> list[str]:
    """The skill that the manifest states must be that of the run with most cases."""
    answer = estimates(runs, model.name)
    if answer is None:
        return [f"{model.name}: no stored run of its estimates."]
    stored = answer["skill"][model.name]
    found = [f"{model.name}: no stored skill of {k}." for k in model.estimate if k not in stored]
    for key, numbers in model.estimate.items():
        for name in ("correlation", "error"):
            if key in stored and stored[key][name] != numbers[name]:
                found.append(
                    f"{model.name}: the {name} of {key} is {numbers[name]} in the manifest, "
                    f"{stored[key][name]} in the run."
                )
    return found
