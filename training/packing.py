"""What a finished run is handed on as: weights, manifest entry, model card and curves.

A run packs itself when it finishes.  Once its ``ema.safetensors`` has been changed since
(calibrated, say), this packs it anew without training anything:

    python -m training.packing RUN
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from sr_cli.temporary import claimed
from sr_cli.zoo import card, weights
from sr_cli.zoo.loading import load
from sr_cli.zoo.manifest import Model, ZooError, manifest
from sr_cli.zoo.schema import SCHEMA_VERSION, problems
from training import curves
from training.journal import read_log
from training.recipe import RecipeError, load_recipe, recipe_names
from training.record import RECORD
from training.schema import Recipe, Validation

FOLDER = "release"
"""Within a run's folder."""
WEIGHTS = "ema.safetensors"
"""The weights' average, beside it."""
DEGRADATION = "degradation.safetensors"
"""The degradation that was learned with them, where one was."""
CURVES = "curves.png"
ENTRY = "entry.json"
"""Within the release."""

UNTAUGHT = "not to be relied on: what it is estimated from has changed, and nothing taught it"
"""Of the vector of a DAN that has learned to undo a learned degradation."""


def pack(run: Path, recipe: Recipe, device: str) -> Iterator[str]:
    """Write a run's release: float16 weights, ``entry.json``, ``README.md`` and ``curves.png``.

    The licence is left for people to fill in: only who trained the weights can say it.

    Args:
        run: The run's folder, with ``ema.safetensors`` and its log.
        recipe: What it was trained by.
        device: What it was trained on, in words.

    Yields:
        A sentence for each thing that could not be written.

    Raises:
        OSError: The folder cannot be written to.
        ZooError: See `write_weights`.
    """
    folder = run / FOLDER
    folder.mkdir(exist_ok=True)
    file = write_weights(run, recipe, folder, device=device)
    try:
        model = card.described(file)
    except ZooError as error:
        yield f"There is no model card: {error}"
    else:
        entry = entry_of(model, file)
        (folder / ENTRY).write_text(json.dumps(entry, indent=1) + "\n", encoding="utf-8")
        models = placed(_plain([asdict(one) for one in manifest().values()]), entry)
        if wrong := problems({"version": SCHEMA_VERSION, "models": models}):
            yield f"entry.json is not yet one for the manifest: {wrong[0]}."
        text = card.card(model, f"OWNER/{recipe.model}")
        (folder / card.CARD_NAME).write_text(text, encoding="utf-8")
    try:
        curves.draw(read_log(run), folder / CURVES)
    except ImportError:
        yield "There are no curves without matplotlib: pip install 'sr-cli[plot]'."


def entry_of(model: Model, file: Path) -> dict[str, Any]:
    """The manifest's object for a model whose weights lie beside the others.

    Args:
        model: As `sr_cli.zoo.card.described` makes it of the file.
        file: The weights.

    Raises:
        ZooError: They cannot be loaded.
    """
    assert model.weights is not None
    whole = replace(
        model,
        weights=replace(model.weights, bundled=file.name, numbers_sha256=load(str(file)).digest),
        licence=model.licence or "unknown",
        authors=model.authors or "unknown",
    )
    return dict(_plain(asdict(whole)))


def placed(models: Sequence[dict[str, Any]], entry: dict[str, Any]) -> list[dict[str, Any]]:
    """A manifest's models with an entry in the place of that of its name, or behind them all."""
    if entry["name"] in [model["name"] for model in models]:
        return [entry if model["name"] == entry["name"] else model for model in models]
    return [*models, entry]


def _plain(value: Any) -> Any:
    """The same in what JSON knows: lists, no tuples."""
    return json.loads(json.dumps(value))


def write_weights(
    run: Path,
    recipe: Recipe,
    folder: Path,
    licence: str | None = None,
    *,
    small: bool = False,
    **facts: str,
) -> Path:
    """Write a run's averaged weights as float16 with everything that loading them needs.

    What network they are of is said by their own header: a run that was finished early has fewer
    iterations than its recipe ends with.

    Args:
        run: The run's folder, with ``ema.safetensors``.
        recipe: What it was trained by.
        folder: Where the file goes, named after the recipe's model.
        licence: Of the weights, as SPDX calls it.
        small: In eight bits (`sr_cli.zoo.compact`) instead.
        facts: More strings for the file's header.

    Raises:
        ZooError: The run's weights are not there, or those of another recipe's run or of none.
        ValueError: A weight is not finite, and they were wanted in eight bits.
    """
    path, trained = folder / f"{recipe.model}.safetensors", run / WEIGHTS
    state, header = weights.read(trained)
    if not header.keys() >= {"network", "options"}:
        raise ZooError(f"{trained} does not say which network it is of.")
    if header.get("recipe", recipe.name) != recipe.name:
        raise ZooError(f"{run} is a run of '{header['recipe']}', not of '{recipe.name}'")
    said = {key: str(value) for key, value in run_facts(run, recipe).items()}
    said |= card.told_start(header) | facts
    write = weights.write_compact if small else weights.write
    write(
        path,
        state,
        header["network"],
        weights.told_options(header, trained),
        model=recipe.model,
        recipe=recipe.name,
        preset=recipe.data.trained_for,
        **({"licence": licence} if licence else {}),
        **said,
    )
    return path


def run_facts(run: Path, recipe: Recipe) -> dict[str, Any]:
    """Steps and seconds of a run, from its log if it has one, and what not to expect of it.

    Also, whether its recipe is another than the bundled one whose name it has.
    """
    doubts = _doubts(recipe) | ({card.CHANGED: "yes"} if _changed(run, recipe) else {})
    told = [line for line in read_log(run) if {"step", "total_seconds"} <= line.keys()]
    if not told:
        return doubts
    return {"steps": told[-1]["step"], "seconds": round(told[-1]["total_seconds"])} | doubts


def _changed(run: Path, recipe: Recipe) -> bool:
    """Whether a recipe, or what the run keeps of it, would teach other than the bundled one does.

    Recipes of other names than the bundled ones' are nobody's changed ones.
    """
    if recipe.name not in recipe_names():
        return False
    trained = [recipe]
    with contextlib.suppress(RecipeError):  # runs of earlier versions keep none
        trained.append(load_recipe(str(run / RECORD)))
    bundled = _taught(load_recipe(recipe.name))
    return any(_taught(one) != bundled for one in trained)


def _taught(recipe: Recipe) -> Recipe:
    """A recipe without what decides nothing of the weights: names, places, when to measure."""
    return replace(
        recipe,
        model="",
        description="",
        save_minutes=1.0,
        data=replace(recipe.data, memory=1.0),
        loss=replace(recipe.loss, features_folder=""),
        validation=Validation(),
    )


def _doubts(recipe: Recipe) -> dict[str, str]:
    untaught = recipe.network.family == "DAN" and recipe.data.degradation == "learned"
    return {"vector": UNTAUGHT} if untaught else {}


def device_name(device: torch.device) -> str:
    """A device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type.upper()}, {torch.get_num_threads()} threads"


def _told_device(release: Path, recipe: Recipe) -> str:
    """What a release that is there already says that it was trained on."""
    try:
        _, header = weights.read(release / f"{recipe.model}.safetensors")
    except ZooError:
        return "unknown"
    return header.get("device", "unknown")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(
        prog="python -m training.packing", description="Pack a run's release/ anew."
    )
    parser.add_argument("run", type=Path, help="a run's folder")
    parser.add_argument("--recipe", help=f"if not given: the run's own {RECORD}")
    parser.add_argument("--set", action="append", default=[], dest="changes")
    parser.add_argument("--device", help="what it was trained on; if not given: as was said before")
    options = parser.parse_args(arguments)
    run: Path = options.run
    try:
        recipe = load_recipe(options.recipe or str(run / RECORD), options.changes)
        with claimed(run) as ours:
            if not ours:
                parser.error(f"another process is training in {run}")
            device = options.device or _told_device(run / FOLDER, recipe)
            for sentence in pack(run, recipe, device):
                sys.stderr.write(f"{sentence}\n")
    except (RecipeError, ZooError) as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"{run / FOLDER} could not be written: {error.strerror}")
    sys.stdout.write(f"{run / FOLDER} is of {run / WEIGHTS} as it is now\n")


if __name__ == "__main__":
    main()
