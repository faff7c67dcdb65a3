"""`sr-cli evaluate`: measure models by the papers' protocols."""

from __future__ import annotations

import csv
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from sr_cli.cli import console, options
from sr_cli.zoo.manifest import DEFAULT_MODEL

if TYPE_CHECKING:
    from torch import Tensor

    from sr_cli.metrics.evaluation import Restore, Row
    from sr_cli.metrics.protocols import Protocol
    from sr_cli.zoo.loading import LoadedModel


def evaluate(
    data: Annotated[Path, typer.Option(help="Folder of high-resolution pictures.")],
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", help="A model; may be repeated.")
    ] = None,
    protocol: Annotated[str, typer.Option(help="real or real-published.")] = "real",
    seed: Annotated[int, typer.Option(help="Of the degradations.")] = 0,
    repeats: Annotated[int, typer.Option(min=1, help="Degradations of every picture.")] = 1,
    features: Annotated[
        Path | None,
        typer.Option(help="Folder with the SqueezeNet files of lpips-squeeze; adds that column."),
    ] = None,
    estimate_only: Annotated[
        bool, typer.Option("--estimate-only", help="Measure only the degradation estimates.")
    ] = False,
    skill: Annotated[
        bool, typer.Option("--skill", help="Print the skill of every number.")
    ] = False,
    per_image: Annotated[Path | None, typer.Option(help="Write every row to this CSV.")] = None,
    save_images: Annotated[
        Path | None, typer.Option(help="Write inputs and results below this folder.")
    ] = None,
    device: options.Device = "auto",
    precision: options.Precision = options.PrecisionName.AUTO,
    as_json: options.Json = False,
) -> None:
    """Measure PSNR and SSIM on the Y channel, and the estimate, with bicubic beside every model.

    Example: sr-cli evaluate --data held-out/ --protocol real
    """
    from sr_cli.metrics.evaluation import averages, bicubic, cases, measure
    from sr_cli.metrics.protocols import PROTOCOLS

    if protocol not in PROTOCOLS:
        raise typer.BadParameter(f"'{protocol}' is not one of {', '.join(PROTOCOLS)}")
    chosen = PROTOCOLS[protocol]
    distance = _distance(features)
    names = list(dict.fromkeys(model or [DEFAULT_MODEL]))
    loaded = {name: _load(name, chosen) for name in names}
    place = options.choose_device(device)
    precise = options.precision_of(precision)
    methods: dict[str, Restore] = {} if estimate_only else {"bicubic": bicubic(chosen.scale)}
    for name, one in loaded.items():
        methods[name] = _method(one, place, precise, estimate_only=estimate_only)
    rows: list[Row] = []
    truths: list[Tensor] = []
    estimates: dict[str, list[Tensor]] = {name: [] for name in names}
    with console.progress(f"{protocol} on {data}") as bar:
        try:
            for case in cases(chosen, data, seed, repeats):
                if estimate_only:
                    vectors = {n: v for n, m in methods.items() if (v := m(case.lr)[1]) is not None}
                else:
                    keep = partial(_save, save_images, case.name) if save_images else None
                    new, vectors = measure(case, methods, chosen.border, distance, keep)
                    rows += new
                if save_images:
                    _save(save_images, case.name, "input", case.lr)
                if case.vector is not None:
                    truths.append(case.vector)
                    for name, vector in vectors.items():
                        estimates[name].append(vector)
                bar(len(truths), len(truths) + 1)
        except FileNotFoundError as error:
            raise console.CommandError(str(error)) from None
    answer: dict[str, Any] = {
        "protocol": protocol,
        "data": data.name,
        "seed": seed,
        "cases": len(truths),
        "date": datetime.now(UTC).date().isoformat(),
        "precision": precise,
        "methods": averages(rows),
        "skill": {name: _skills(loaded[name], estimates[name], truths) for name in names if truths},
    }
    if per_image:
        _write_csv(per_image, rows)
    if as_json:
        console.print_json(answer)
    else:
        _print(answer, skill=skill or estimate_only)


def _distance(features: Path | None) -> Any:
    if features is None:
        return None
    from sr_cli.metrics.perceptual import PerceptualDistance

    try:
        return PerceptualDistance(features)
    except (FileNotFoundError, ValueError) as error:
        raise console.CommandError(str(error)) from None


def _load(name: str, protocol: Protocol) -> LoadedModel:
    from sr_cli.zoo.loading import load

    loaded = load(name)
    if loaded.scale != protocol.scale:
        raise console.CommandError(
            f"{name} enlarges x{loaded.scale}, but the protocol {protocol.name} needs "
            f"x{protocol.scale}."
        )
    return loaded


def _method(loaded: LoadedModel, device: Any, precision: Any, *, estimate_only: bool) -> Restore:
    import torch

    from sr_cli.inference.torch_backend import torch_engine

    engine = torch_engine(loaded.network, device, precision)

    def restore(lr: Tensor) -> tuple[Tensor, Tensor | None]:
        rgb = lr.permute(1, 2, 0).contiguous().numpy()
        if estimate_only:
            return lr, _tensor(engine.estimate(rgb))
        result = engine.upscale(rgb)
        return torch.from_numpy(result.rgb).permute(2, 0, 1), _tensor(result.vector)

    return restore


def _tensor(vector: Any) -> Tensor | None:
    import torch

    return None if vector is None else torch.from_numpy(vector)


def _skills(
    loaded: LoadedModel, estimates: list[Tensor], truths: list[Tensor]
) -> dict[str, dict[str, float]]:
    import torch

    from sr_cli.metrics.estimation import skills

    if len(loaded.layout) != len(truths[0]):
        return {}
    found: dict[str, dict[str, float]] = {}
    for one in skills(loaded.layout, torch.stack(estimates), torch.stack(truths)):
        values = {k: v for k, v in asdict(one).items() if k != "key" and v is not None}
        found[one.key] = {k: round(v, 4) if isinstance(v, float) else v for k, v in values.items()}
    return found


def _save(folder: Path, name: str, method: str, picture: Tensor) -> None:
    from sr_cli.images import Picture, write

    place = folder / Path(method).stem
    place.mkdir(parents=True, exist_ok=True)
    rgb = picture.clamp(0, 1).permute(1, 2, 0).contiguous().numpy()
    write(Picture(rgb), place / f"{Path(name).stem}.png")


def _write_csv(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        fields = ["method", "picture", "psnr_y", "ssim_y", "lpips_squeeze"]
        writer = csv.DictWriter(file, fields)
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def _print(answer: dict[str, Any], *, skill: bool) -> None:
    if answer["methods"]:
        title = f"{answer['protocol']} on {answer['data']}, {answer['cases']} cases"
        table = Table(title=title, box=None, pad_edge=False, title_justify="left")
        table.add_column("Method")
        for column in ("PSNR-Y dB", "SSIM-Y", "lpips-squeeze"):
            table.add_column(column, justify="right")
        for method, means in answer["methods"].items():
            distance = f"{means['lpips_squeeze']:.4f}" if "lpips_squeeze" in means else "-"
            table.add_row(method, f"{means['psnr_y']:.2f}", f"{means['ssim_y']:.4f}", distance)
        console.out.print(table)
    if not skill:
        return
    for method, numbers in answer["skill"].items():
        table = Table(title=f"Estimates of {method}", box=None, pad_edge=False)
        table.add_column("Number")
        for column in ("correlation", "mean error", "AUC", "cases"):
            table.add_column(column, justify="right")
        for key, one in numbers.items():
            auc = f"{one['auc']:.3f}" if "auc" in one else ""
            table.add_row(
                key, f"{one['correlation']:.2f}", f"{one['error']:.3g}", auc, str(one["count"])
            )
        console.out.print(table)
