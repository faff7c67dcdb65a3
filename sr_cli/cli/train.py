"""`sr-cli train`: reproduce a model from pictures alone."""

from __future__ import annotations

import math
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sr_cli.cli import console, options
from sr_cli.zoo.manifest import DEFAULT_MODEL

RUNS = Path("runs")
"""Where runs are kept if nothing else is said."""


class TrainPrecisionName(StrEnum):
    """Precisions that can be trained in."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"


def train(
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="Name from --list, or the path of a TOML file. If not given: with --resume the "
            f"recipe that the run's folder keeps, else {DEFAULT_MODEL}."
        ),
    ] = None,
    data: Annotated[
        list[Path] | None, typer.Option(help="Folder of photographs; may be repeated.")
    ] = None,
    low: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of low-quality pictures whose degradation is to be learned (recipes "
            "pdm-*); may be repeated."
        ),
    ] = None,
    val: Annotated[
        Path | None,
        typer.Option(
            help="Folder of held-out photographs to measure on; for recipes pdm-* of pairs, with "
            "HR and LR in it."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; runs/RECIPE if not given.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run stopped.")] = False,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Start from a model of the zoo, a weights file (.safetensors, .pth) or "
            "hf:owner/repo/file instead of fresh weights."
        ),
    ] = None,
    time_budget: Annotated[
        str | None, typer.Option(help="Stop cleanly after 90s, 9m or 1.5h; --resume goes on.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=0, help="Stop behind this step of the run; --resume goes on.")
    ] = None,
    finish: Annotated[
        bool, typer.Option("--finish", help="Let the rate fall to zero within the time budget.")
    ] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change the recipe: key=value, like phase.0.batch=16."),
    ] = None,
    device: options.Device = "auto",
    precision: Annotated[
        TrainPrecisionName,
        typer.Option(help="auto is bf16 autocast where the device has bf16; fp32 is exact."),
    ] = TrainPrecisionName.AUTO,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Let torch.compile rewrite the network's blocks.")
    ] = False,
    captured: Annotated[
        bool,
        typer.Option("--capture/--no-capture", help="Replay steps as one CUDA graph; GPUs only."),
    ] = True,
    curves: Annotated[
        bool, typer.Option("--tensorboard", help="Write curves for TensorBoard too.")
    ] = False,
    list_: Annotated[bool, typer.Option("--list", help="List the recipes and leave.")] = False,
    show: Annotated[
        bool, typer.Option("--show", help="Show the recipe with everything it extends, and leave.")
    ] = False,
) -> None:
    """Train a model. Weights, state and a log land in the run's folder.

    Example: sr-cli train dan-real-x4-cpu --data photos/ --val held-out/ --time-budget 2h
    """
    from training.recipe import RecipeError, load_recipe, recipe_names, shown
    from training.record import RECORD

    if list_:
        for name in recipe_names():
            try:
                console.out.print(f"{name}: {load_recipe(name).description}")
            except RecipeError as error:  # a new one, say; the others are there all the same
                console.complain(str(error))
        return
    if recipe is None:
        recipe = DEFAULT_MODEL
        kept = (out if out is not None else RUNS / recipe) / RECORD
        if resume and kept.exists():
            recipe = str(kept)
        elif resume and out is not None:
            raise typer.BadParameter(
                f"there is no run in {console.shown_path(out)} to resume; name its folder, or a "
                "RECIPE to begin one there"
            )
    try:
        chosen = load_recipe(recipe, set_ or ())
    except RecipeError as error:
        load_recipe(recipe)  # which raises where the recipe itself is to blame
        raise typer.BadParameter(str(error), param_hint="--set") from None
    if show:
        console.out.print(shown(chosen), end="")
        return
    budget = seconds(time_budget) if time_budget is not None else math.inf
    if finish and time_budget is None:
        raise typer.BadParameter("--finish needs a time to finish within: --time-budget 25m")
    if finish and not chosen.decay_steps:
        raise typer.BadParameter(
            f"{chosen.name} has no decay to finish with; give it one: --set decay_steps=2000"
        )
    if not data:
        raise console.CommandError(
            "Training needs photographs: name one or more folders of them with --data DIR. "
            "A few hundred sharp pictures of a megapixel are a start; DIV2K and Flickr2K are what "
            "the papers used."
        )
    learned = chosen.data.degradation == "learned"
    if learned and not low:
        raise console.CommandError(
            f"{chosen.name} learns how pictures were degraded from low-quality ones: name one or "
            "more folders of them with --low DIR. They need no originals, but should all have been "
            "spoiled in the same ways; some dozens are a start."
        )
    if low and not learned:
        raise typer.BadParameter(
            f"{chosen.name} degrades photographs by rules; --low is for recipes that learn to "
            "(pdm-*)"
        )
    from sr_cli.opening import torch_device
    from sr_cli.precision import automatic_precision
    from training.session import run_session
    from training.trainer import Options

    folder = out if out is not None else RUNS / chosen.name
    place = torch_device(device)
    half = precision is not TrainPrecisionName.FP32
    if precision is TrainPrecisionName.AUTO:
        half = automatic_precision(place) == "bf16"
    how = Options(
        half=half,
        compiled=compiled,
        captured=captured,
        curves=curves,
        weights=weights,
        time_budget=budget,
        last_step=steps,
        finish=finish,
    )
    with console.progress(chosen.name) as bar:
        ended = run_session(
            chosen,
            data,
            val,
            folder,
            place,
            options=how,
            resume=resume,
            tell=console.note,
            bar=bar,
            low=low or (),
        )
    if ended:
        console.out.print(ended)


def seconds(text: str) -> float:
    """``90s``, ``9m``, ``1.5h`` or plain seconds.

    Raises:
        typer.BadParameter: It is nothing of these.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if not found:
        raise typer.BadParameter(f"'{text}' is not a time like 90s, 9m or 1.5h")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]
