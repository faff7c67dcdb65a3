"""From a finished run to released weights: a float16 file and its entry in the manifest.

    python -m training.release RUN --recipe dan-real-x4-cpu --manifest weights_manifest.json

Figures are not typed in: they are read from JSON files that `sr-cli evaluate --json` wrote.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from sr_cli.zoo import store
from sr_cli.zoo.schema import problems
from training.packing import run_facts, write_weights
from training.recipe import Recipe, load_recipe

LICENCE = "Apache-2.0"
AUTHORS = "the sr-cli authors"


def update_manifest(
    manifest: Path,
    recipe: Recipe,
    file: Path,
    training: dict[str, Any],
    figures: list[dict[str, Any]],
    skill: dict[str, Any] | None,
) -> None:
    """Point a model's entry at new weights, with what was measured of them.

    Args:
        manifest: The manifest's file; the model must have an entry.
        recipe: What the weights were trained by.
        file: The weights file.
        training: Facts about the run.
        figures: Objects as `sr-cli evaluate --json` prints them, of these weights.
        skill: The ``skill`` of the model in one of them, measured on many degradations.

    Raises:
        ValueError: The manifest would not be valid with it; nothing was written then.
    """
    document = json.loads(manifest.read_text(encoding="utf-8"))
    entry = next(m for m in document["models"] if m["name"] == recipe.model)
    entry["options"] = recipe.options
    entry["recipe"] = recipe.name
    entry["preset"] = recipe.data.trained_for
    entry["licence"] = entry["licence"] or LICENCE
    entry["authors"] = entry["authors"] or AUTHORS
    entry["training"] = training
    entry["weights"] = {
        "bundled": file.name,
        "hub": entry["weights"]["hub"] if entry["weights"] else None,
        "sha256": store.sha256(file),
        "bytes": file.stat().st_size,
    }
    entry["figures"] = [_figure(figure, recipe.model) for figure in figures]
    entry["estimate"] = skill or {}
    if wrong := problems(document):
        raise ValueError(f"the manifest would not be valid: {wrong[0]}")
    manifest.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _figure(answer: dict[str, Any], model: str) -> dict[str, Any]:
    facts = {key: answer[key] for key in ("protocol", "data", "seed", "cases", "date")}
    ours = next(v for k, v in answer["methods"].items() if model in k)
    for name, value in ours.items():
        facts[name] = round(value, 4)
        if name in answer["methods"]["bicubic"]:  # which estimates no kernel
            facts[f"bicubic_{name}"] = round(answer["methods"]["bicubic"][name], 4)
    return facts


def main() -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m training.release", description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--set", action="append", default=[], dest="changes")
    parser.add_argument("--weights", type=Path, default=Path("sr_cli/weights"))
    parser.add_argument("--manifest", type=Path, default=Path("weights_manifest.json"))
    parser.add_argument("--device", default="unknown", help="what it was trained on")
    parser.add_argument("--figures", type=Path, action="append", default=[])
    parser.add_argument("--skill", type=Path, help="JSON of evaluate --estimate-only --repeats N")
    options = parser.parse_args()
    recipe = load_recipe(options.recipe, options.changes)
    file = write_weights(options.run, recipe, options.weights, LICENCE)
    figures = [json.loads(path.read_text()) for path in options.figures]
    skill = None
    if options.skill:
        skill = next(iter(json.loads(options.skill.read_text())["skill"].values()))
    facts = {**run_facts(options.run), "device": options.device}
    update_manifest(options.manifest, recipe, file, facts, figures, skill)
    sys.stdout.write(f"{file}: {file.stat().st_size} bytes, sha256 {store.sha256(file)}\n")


if __name__ == "__main__":
    main()
