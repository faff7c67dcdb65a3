"""What a finished run is handed on as: weights, manifest entry, model card and curves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from sr_cli.zoo import card, weights
from sr_cli.zoo.manifest import Model, ZooError
from sr_cli.zoo.schema import SCHEMA_VERSION, problems
from training import curves
from training.journal import read_log
from training.schema import Recipe

FOLDER = "release"
"""Within a run's folder."""
WEIGHTS = "ema.safetensors"
"""The weights' average, beside it."""
DEGRADATION = "degradation.safetensors"
"""The degradation that was learned with them, where one was."""


def pack(run: Path, recipe: Recipe, device: torch.device) -> Iterator[str]:
    """Write a run's release: float16 weights, ``entry.json``, ``README.md`` and ``curves.png``.

    The licence is left for people to fill in: only who trained the weights can say it.

    Args:
        run: The run's folder, with ``ema.safetensors`` and its log.
        recipe: What it was trained by.
        device: What it was trained on.

    Yields:
        A sentence for each thing that could not be written.

    Raises:
        OSError: The folder cannot be written to.
    """
    folder = run / FOLDER
    folder.mkdir(exist_ok=True)
    file = write_weights(run, recipe, folder, device=device_name(device))
    try:
        model = card.described(file)
    except ZooError as error:
        yield f"There is no model card: {error}"
    else:
        text = json.dumps(_entry(model, file), indent=1) + "\n"
        (folder / "entry.json").write_text(text, encoding="utf-8")
        document = {"version": SCHEMA_VERSION, "models": [json.loads(text)]}
        if wrong := problems(document):
            yield f"entry.json is not yet one for the manifest: {wrong[0]}."
        text = card.card(model, f"OWNER/{recipe.model}")
        (folder / card.CARD_NAME).write_text(text, encoding="utf-8")
    try:
        curves.draw(read_log(run), folder / "curves.png")
    except ImportError:
        yield "There are no curves without matplotlib: pip install 'sr-cli[plot]'."


def _entry(model: Model, file: Path) -> dict[str, Any]:
    """The manifest's object for a model whose weights lie beside the others."""
    assert model.weights is not None
    whole = replace(
        model,
        weights=replace(model.weights, bundled=file.name),
        licence=model.licence or "unknown",
        authors=model.authors or "unknown",
    )
    return asdict(whole)


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
    said = {key: str(value) for key, value in run_facts(run).items()} | facts
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


def run_facts(run: Path) -> dict[str, Any]:
    """Steps and seconds of a run, from its log; nothing if it has none."""
    told = [line for line in read_log(run) if {"step", "total_seconds"} <= line.keys()]
    if not told:
        return {}
    return {"steps": told[-1]["step"], "seconds": round(told[-1]["total_seconds"])}


def device_name(device: torch.device) -> str:
    """A device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type.upper()}, {torch.get_num_threads()} threads"
