"""`sr-cli evaluate`: measure models by the papers' protocols."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sr_cli.cli import console, options, side_outputs
from sr_cli.cli.evaluation_answer import answer_of
from sr_cli.cli.evaluation_rounds import Round, Settings, plan, run, times
from sr_cli.cli.evaluation_tables import print_answer
from sr_cli.cli.inputs import tell_left_out
from sr_cli.zoo.manifest import DEFAULT_MODEL

if TYPE_CHECKING:
    from sr_cli.metrics.evaluation import Measures
    from sr_cli.metrics.protocols import Protocol


class PrecisionName(StrEnum):
    """Precisions that can be measured."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"


def evaluate(
    data: Annotated[
        list[Path],
        typer.Option(
            help="Folder of high-resolution pictures, or a DIV2KRK, RealSR, NTIRE or LR/HR data "
            "set; may be repeated."
        ),
    ],
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="A model, or bicubic alone; may be repeated."),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(
            help="real, real-published, real-cropped, mild, gaussian8, aniso, blur-noise, paired "
            "or no-reference."
        ),
    ] = "real",
    scale: Annotated[
        list[int] | None,
        typer.Option(help="With bicubic alone: 2, 3, 4; may be repeated.", show_default="all"),
    ] = None,
    lr: Annotated[
        Path | None,
        typer.Option(help="Folder of low-resolution pictures to use, instead of making them."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the degradations.")] = 0,
    repeats: Annotated[
        int, typer.Option(min=1, help="Degradations of every picture, where they are drawn.")
    ] = 1,
    rgb: Annotated[bool, typer.Option("--rgb", help="Add PSNR and SSIM on RGB.")] = False,
    features: Annotated[
        Path | None,
        typer.Option(help="Folder with the SqueezeNet files of lpips-squeeze; adds that column."),
    ] = None,
    lpips: Annotated[
        bool, typer.Option("--lpips", help="Add LPIPS on AlexNet, by the lpips package.")
    ] = False,
    niqe: Annotated[
        bool, typer.Option("--niqe", help="Add NIQE with this program's own pristine model.")
    ] = False,
    iterations: Annotated[
        str | None,
        typer.Option(help="Numbers of iterations to compare, such as 1..4 or 1,3."),
    ] = None,
    truth: Annotated[
        bool,
        typer.Option(
            "--truth", help="Also give the Restorer the truth, or nothing, instead of an estimate."
        ),
    ] = False,
    tta: Annotated[
        bool, typer.Option("--tta", help="Also average over all flips and turns, as upscale does.")
    ] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Put the papers' figures beside ours.")
    ] = False,
    estimate_only: Annotated[
        bool, typer.Option("--estimate-only", help="Measure only the degradation estimates.")
    ] = False,
    skill: Annotated[
        bool, typer.Option("--skill", help="Print the skill of every number.")
    ] = False,
    per_image: Annotated[Path | None, typer.Option(help="Write every row to this CSV.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing CSV and saved pictures.")
    ] = False,
    save_images: Annotated[
        Path | None, typer.Option(help="Write inputs and results below this folder.")
    ] = None,
    device: options.Device = "auto",
    precision: Annotated[
        PrecisionName, typer.Option(help="What is computed in; figures are published in fp32.")
    ] = PrecisionName.FP32,
    as_json: options.Json = False,
) -> None:
    """Measure models by the papers' protocols, with bicubic interpolation beside every model.

    Example: sr-cli evaluate --data held-out/ --protocol real --compare
    """
    from sr_cli.opening import torch_place

    if per_image:
        side_outputs.check(per_image, overwrite=overwrite)
    if save_images and save_images.exists() and not save_images.is_dir():
        raise typer.BadParameter(f"{save_images} is a file, and --save-images names a folder")
    if save_images and save_images.is_dir() and any(save_images.iterdir()) and not overwrite:
        raise console.CommandError(
            f"{console.shown_path(save_images)} holds files already; --overwrite replaces those "
            "of equal names."
        )
    turns = _iterations(iterations)
    chosen = _protocol(protocol, scale)
    if chosen.name == "no-reference":
        of_truth = {"--rgb": rgb, "--features": features, "--lpips": lpips, "--truth": truth}
        of_truth |= {"--compare": compare, "--estimate-only": estimate_only, "--skill": skill}
        _refuse({"--lr": lr, "--seed": seed, "--repeats": repeats > 1, **of_truth})
    elif (seed or repeats > 1) and not chosen.draws:
        console.note(f"{chosen.name} draws nothing, so --seed and --repeats change nothing.")
    place, _ = torch_place(device, precision.value)
    settings = Settings(
        chosen,
        seed,
        repeats,
        lr,
        _measures(chosen, rgb=rgb, features=features, lpips=lpips, niqe=niqe),
        estimate_only,
        save_images,
        place,
        precision.value,
        tta,
        device,
    )
    rounds = plan(settings, data, model or [DEFAULT_MODEL], scale or [], turns, truth=truth)
    if len(rounds) > 1:
        for one in rounds:
            one.place = Path(one.name) / f"x{one.benchmark.scale}"
    for folder in dict.fromkeys(one.data for one in rounds):
        tell_left_out(folder)
    show = console.print_json if as_json else partial(_show, skill=skill or estimate_only)
    try:
        with console.progress(protocol) as bar:
            total, done = sum(one.steps for one in rounds), 0
            bar(0, total)
            told: set[tuple[Path, str]] = set()
            for one in rounds:
                findings = run(one, settings, partial(_tell, bar, done, total), told)
                done += one.steps
                answer = answer_of(one, settings, findings, compare=compare)
                with console.aside():
                    show(answer)
    except BaseException:
        # Also where the work was interrupted: to measure all that again may take hours.
        try:
            if per_image and any(one.rows for one in rounds):
                _write_csv(per_image, rounds, overwrite=overwrite)
        except OSError as error:  # which must not hide what has ended the work
            console.complain(f"sr-cli: {console.system_error(error)}")
        raise
    if per_image:
        _write_csv(per_image, rounds, overwrite=overwrite)
    if any(one.failed for one in rounds):
        raise typer.Exit(1)


def _show(answer: dict[str, Any], *, skill: bool) -> None:
    """A round as tables, unless all of it failed."""
    if answer["cases"]:
        print_answer(answer, skill=skill)


def _tell(bar: Callable[[float, float], None], before: int, total: int, done: int) -> None:
    bar(before + done, total)


def _iterations(text: str | None) -> tuple[int, ...]:
    """``1..4`` or ``1,3`` as numbers."""
    if text is None:
        return ()
    if span := re.fullmatch(r"(\d{1,2})\.\.(\d{1,2})", text):
        numbers = tuple(range(int(span[1]), int(span[2]) + 1))
    elif re.fullmatch(r"\d{1,2}(,\d{1,2})*", text):
        numbers = tuple(int(part) for part in text.split(","))
    else:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise typer.BadParameter(f"'{text}' is not of the form 1..4 or 1,3")
    return numbers


def _protocol(name: str, scales: Iterable[int] | None) -> Protocol:
    from sr_cli.metrics.protocols import PROTOCOLS

    if name not in PROTOCOLS:
        raise typer.BadParameter(f"'{name}' is not one of {', '.join(PROTOCOLS)}")
    protocol = PROTOCOLS[name]
    for scale in scales or ():
        if scale not in protocol.scales:
            raise typer.BadParameter(f"{name} has no x{scale}, only {times(protocol.scales)}")
    return protocol


def _refuse(options: Mapping[str, object]) -> None:
    """Ends the command if any was given of the options that do nothing without a truth."""
    if given := [name for name, value in options.items() if value]:
        raise typer.BadParameter(
            f"{', '.join(given)}: no-reference takes the pictures of --data as they are and has no "
            "truth to measure them by, so this would do nothing"
        )


def _measures(
    protocol: Protocol, *, rgb: bool, features: Path | None, lpips: bool, niqe: bool
) -> Measures:
    from sr_cli.metrics.evaluation import Distance, Measures
    from sr_cli.metrics.figures import ALWAYS

    distances: dict[str, Distance] = {}
    try:
        if features is not None:
            from sr_cli.metrics.perceptual import PerceptualDistance

            distances["lpips_squeeze"] = PerceptualDistance(features)
        if lpips:
            from sr_cli.metrics.perceptual_alex import AlexDistance

            distances["lpips_alex"] = AlexDistance()
    except (ImportError, FileNotFoundError, ValueError) as error:
        raise console.CommandError(str(error)) from None
    always = ALWAYS.get(protocol.name, ())
    return Measures(rgb or "psnr_rgb" in always, distances, niqe or "niqe_own" in always)


def _write_csv(path: Path, rounds: Sequence[Round], *, overwrite: bool) -> None:
    """Every row that has been measured; the figures of a method that failed on a case are empty."""
    from sr_cli.metrics.figures import FIGURES

    rows = [(one, row) for one in rounds for row in one.rows]
    used = [key for key in FIGURES if any(key in row.values for _, row in rows)]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["data", "scale", "method", "picture", "condition", "repeat", *used])
    for one, row in rows:
        values = [row.values.get(key, "") for key in used]
        place = one.name, one.benchmark.scale
        writer.writerow([*place, row.method, row.picture, row.condition, row.repeat, *values])
    written = text.getvalue().encode("utf-8", "backslashreplace")
    side_outputs.write(path, written, overwrite=overwrite)
