"""`sr-cli bench`: how fast models run here, beside what the machine can do."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from sr_cli.cli import console, options
from sr_cli.zoo.manifest import DEFAULT_MODEL

if TYPE_CHECKING:
    from sr_cli.inference.benchmark import Timing
    from sr_cli.opening import OpenModel

RANDOM = "random:"


@dataclass(frozen=True)
class _Candidate:
    """One thing to time."""

    name: str
    opened: OpenModel
    tile: int | None


def bench(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help="A model, may be repeated; random:FAMILY is a network of the papers with random "
            "weights, such as random:RRDB, Real-ESRGAN's.",
        ),
    ] = None,
    size: Annotated[
        list[str] | None, typer.Option(help="Of the input: WxH, 512x512 if not given; repeatable.")
    ] = None,
    tile: Annotated[
        list[str] | None, typer.Option(help="auto, a side, or 0 for whole; may be repeated.")
    ] = None,
    precision: Annotated[
        list[options.PrecisionName] | None, typer.Option(help="May be repeated.")
    ] = None,
    backend: Annotated[
        list[options.BackendName] | None, typer.Option(help="May be repeated.")
    ] = None,
    device: options.Device = "auto",
    repeats: Annotated[int, typer.Option(min=1, help="Rounds, after one that does not count.")] = 3,
    as_json: options.Json = False,
) -> None:
    """Time models from file to file, one after another in turn, and count their arithmetic.

    Ratios within one run are what to trust: other work on the machine slows all alike.

    Example: sr-cli bench --size 512x512 -m dan-real-x4 -m random:RRDB
    """
    sizes = [_size(one) for one in size or ["512x512"]]
    for one in sizes:
        _check_memory(*one)
    sides = [options.tile_side(one) for one in tile or ["auto"]]
    candidates = [
        _Candidate(name, _open(name, device, kind.value, runner.value), side)
        for name, runner, kind, side in product(
            model or [DEFAULT_MODEL],
            backend or [options.BackendName.AUTO],
            precision or [options.PrecisionName.AUTO],
            sides,
        )
    ]
    rates = _rates(candidates, device)
    rows = [row for one in sizes for row in _rows(candidates, rates, *one, repeats)]
    answer = {
        "repeats": repeats,
        "startup_seconds": _startup(),
        "matrix_product_gmac": {kind: round(rate / 1e9, 1) for kind, rate in rates.items()},
        "rows": rows,
    }
    if as_json:
        console.print_json(answer)
    else:
        _print(answer)


def _rows(
    candidates: list[_Candidate], rates: dict[Any, float], width: int, height: int, repeats: int
) -> list[dict[str, Any]]:
    from sr_cli.images import Picture, write
    from sr_cli.inference.benchmark import texture, time_alternately

    with tempfile.TemporaryDirectory(prefix="sr-cli-bench-") as folder:
        picture = Path(folder) / "input.png"
        write(Picture(texture(height, width)), picture)
        engines = [one.opened.engine for one in candidates]
        with console.progress(f"{width}x{height}") as bar:
            timings = time_alternately(
                engines, picture, [one.tile for one in candidates], repeats, bar
            )
    return [
        _row(one, timing, rates, width, height)
        for one, timing in zip(candidates, timings, strict=True)
    ]


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not all(side.isdecimal() and len(side) < 10 and int(side) for side in (width, height)):
        raise typer.BadParameter(f"'{text}' is not a size like 512x512")
    return int(width), int(height)


def _check_memory(width: int, height: int) -> None:
    """Make sure that there can be a picture of this size to begin with."""
    from sr_cli.inference.benchmark import texture_bytes
    from sr_cli.inference.memory import free_memory

    needed, free = texture_bytes(height, width), free_memory("cpu")
    if needed > free:
        raise console.CommandError(
            f"There is no memory for a picture of {width}x{height}: making one takes "
            f"{needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free. Name a smaller --size."
        )


def _open(name: str, device: str, precision: Any, backend: Any) -> OpenModel:
    from sr_cli.inference.torch_backend import torch_engine
    from sr_cli.networks.registry import FAMILIES
    from sr_cli.opening import OpenModel, open_model, torch_place

    if not name.startswith(RANDOM):
        return open_model(name, device, precision, backend, console.note)
    families = {family.name.lower(): family for family in FAMILIES}
    wanted = name.removeprefix(RANDOM).lower()
    if wanted not in families:
        known = ", ".join(family.name for family in FAMILIES)
        raise typer.BadParameter(f"'{name}': the families are {known}")
    if backend == "onnx":
        raise typer.BadParameter("random weights run through torch only")
    place, precision = torch_place(device, precision)
    return OpenModel(name, torch_engine(families[wanted].build(), place, precision), None)


def _rates(candidates: list[_Candidate], device: str) -> dict[Any, float]:
    """The machine's pace in every precision that torch was timed in."""
    from sr_cli.inference.benchmark import DTYPES, matrix_product_rate
    from sr_cli.opening import torch_device

    kinds = {one.opened.engine.precision for one in candidates} & DTYPES.keys()
    return {kind: matrix_product_rate(torch_device(device), kind) for kind in sorted(kinds)}


def _row(
    one: _Candidate, timing: Timing, rates: dict[Any, float], width: int, height: int
) -> dict[str, Any]:
    from sr_cli.inference.counting import feature_bytes, multiply_adds, picture_bytes
    from sr_cli.inference.memory import automatic_tile

    engine = one.opened.engine
    seconds = statistics.median(timing.seconds)
    network = statistics.median(timing.network)
    row: dict[str, Any] = {
        "size": [width, height],
        "model": one.name,
        "backend": engine.backend.name,
        "device": engine.device,
        "precision": engine.precision,
        "tile": "auto" if one.tile is None else one.tile,
        "seconds": round(seconds, 3),
        "seconds_min_max": [round(min(timing.seconds), 3), round(max(timing.seconds), 3)],
        "seconds_per_megapixel": round(seconds * 1e6 / (width * height * engine.scale**2), 3),
        "network_share": round(network / seconds, 3),
        "peak_megabytes": round(max(timing.peak) / 1e6) if timing.peak else None,
    }
    net = getattr(engine.backend, "network", None)
    if net is not None:
        whole = multiply_adds(net, height, width, 0)
        row["multiply_adds"] = whole
        row["overhead_of_tiles"] = round(multiply_adds(net, height, width, one.tile) / whole, 3)
        row["share_of_matrix_product"] = round(whole / network / rates[engine.precision], 3)
        if engine.backend.steps and one.tile != 0:  # one tile of everything is all at work
            side = one.tile or automatic_tile(engine.device)
            features = feature_bytes(net, height, width, side, engine.precision)
            pictures = picture_bytes(height, width, engine.scale)
            row["predicted_megabytes"] = round((pictures + features) / 1e6)
    return row


def _startup() -> float:
    """Seconds until the program has told its version, the best of three."""
    command = [sys.executable, "-m", "sr_cli", "--version"]
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        best = min(best, time.perf_counter() - began)
    return round(best, 3)


def _print(answer: dict[str, Any]) -> None:
    table = Table(
        title=f"File to file, median of {answer['repeats']}",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for column in ("Size", "Model", "Run by"):
        table.add_column(column, no_wrap=True)
    for column in ("s", "s/MP", "x first", "network", "matmul", "tiles", "MB", "foretold"):
        table.add_column(column, justify="right")
    first = {tuple(row["size"]): row["seconds"] for row in reversed(answer["rows"])}
    for row in answer["rows"]:
        size = tuple(row["size"])
        table.add_row(
            f"{size[0]}x{size[1]}",
            row["model"],
            f"{row['backend']} {row['precision']} {row['tile']}",
            *(f"{row['seconds']:.2f}", f"{row['seconds_per_megapixel']:.2f}"),
            f"{row['seconds'] / first[size]:.2f}",
            f"{row['network_share']:.0%}",
            f"{row['share_of_matrix_product']:.0%}" if "multiply_adds" in row else "-",
            f"{row['overhead_of_tiles']:.2f}" if "multiply_adds" in row else "-",
            "-" if row["peak_megabytes"] is None else str(row["peak_megabytes"]),
            str(row.get("predicted_megabytes", "-")),
        )
    console.print_wide(table)
    console.out.print(
        "s/MP: of the enlarged picture. network: share of the time. matmul: arithmetic of the "
        "whole picture, beside a large matrix product. tiles: their arithmetic, halos included, "
        "beside the whole picture's. MB: at most, above the loaded model; foretold: what pictures "
        "and features take, to which the tile at work is added."
    )
    paces = ", ".join(f"{k} {v:.0f}" for k, v in answer["matrix_product_gmac"].items())
    console.out.print(
        f"Matrix product of this machine, billion multiply-adds a second: {paces or '-'}. "
        f"Start of the program: {answer['startup_seconds']:.2f} s."
    )
