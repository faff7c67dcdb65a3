"""`sr-cli degrade`: make bad pictures from good ones, repeatably."""

from __future__ import annotations

import errno
import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from sr_cli.cli import batch, console
from sr_cli.cli.inputs import (
    Source,
    find_sources,
    lies_where_another_goes,
    plan_outputs,
)
from sr_cli.zoo.manifest import DEFAULT_MODEL

if TYPE_CHECKING:
    from torch import Tensor

    from sr_cli.images.picture import Floats


def degrade(
    images: Annotated[list[str], typer.Argument(help="Pictures, folders or patterns.")],
    out: Annotated[
        Path,
        typer.Option(
            "-o",
            "--out",
            help="Folder for NAME.png and NAME.json. Where pictures would share a name, each has "
            "its ending in it (photo_jpg.png, photo_png.png), and if they still would, letters "
            "that stand for its path (photo_png_75b31bcf.png).",
        ),
    ],
    seed: Annotated[
        int,
        typer.Option(
            help="The same seed makes the same pictures; a file's name (without its folder) is "
            "part of it."
        ),
    ] = 0,
    recursive: Annotated[
        bool, typer.Option(help="Go into folders within folders; OUT gets the same folders.")
    ] = False,
    degradation: Annotated[
        Path | None,
        typer.Option(
            help="JSON of estimate-degradation or degrade, to be applied instead (with the seed "
            "that it tells, that of degrade makes the same picture); or the "
            "degradation.safetensors that training by a recipe pdm-* has left."
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace existing outputs.")
    ] = False,
) -> None:
    """Shrink pictures four times through the two-stage degradation, and write down what was done.

    Their sides must be at least 76 pixels; what is beyond a multiple of 4 is cut off.

    Example: sr-cli degrade photo.png -o bad/ --seed 7
    """
    if out.exists() and not out.is_dir():
        raise typer.BadParameter(f"{out} is a file, and -o names a folder")
    how = _way(degradation)
    from sr_cli.images import DiskFullError
    from sr_cli.temporary import sweep

    failed = 0
    sources = _without_results(find_sources(images, recursive=recursive), out)
    targets = plan_outputs(sources, out, "", ".png", folder=True)
    for place in {target.parent for target in targets}:
        sweep(place)
    originals = {os.path.realpath(source.path) for source in sources}
    for number, (source, target) in enumerate(zip(sources, targets, strict=True), 1):
        try:
            _check_targets(target, originals, overwrite=overwrite)
            lr, facts, notes = _degraded(source, how, seed)
            _write(target, lr, facts, keep=not overwrite)
            for note in notes:
                console.note(f"{source.path}: {note}")
        except Exception as error:
            failed += 1
            console.complain(f"{source.path}: {batch.reason(error)}")
            if isinstance(error, DiskFullError) or getattr(error, "errno", 0) == errno.ENOSPC:
                if rest := len(sources) - number:  # no other would fit either
                    console.complain(f"{rest} more not tried, since the disk is full")
                break
    if failed:
        raise typer.Exit(1)


def _without_results(sources: list[Source], out: Path) -> list[Source]:
    """The pictures that were not made by an earlier run over the same folders.

    A result lies where that of another picture goes, with what was done beside it.
    """
    is_another = lies_where_another_goes(sources, out, ".png")
    kept = [
        source
        for source in sources
        if not (source.found and source.path.with_suffix(".json").is_file() and is_another(source))
    ]
    if left := len(sources) - len(kept):
        console.note(f"{left} left out as results of other pictures here")
    return kept


def _check_targets(target: Path, originals: set[str], *, overwrite: bool) -> None:
    from sr_cli.images import PictureError

    for path in (target, target.with_suffix(".json")):
        if os.path.realpath(path) in originals:
            raise PictureError(f"{path} is one of the pictures; choose another folder")
        if path.exists() and not overwrite:
            raise PictureError(f"{path} exists already; --overwrite replaces it")
        if path.is_dir():
            raise PictureError(f"{path} is a folder")


class _Way(Protocol):
    """How pictures are degraded."""

    scale: int
    smallest: int
    """Pixels that the shorter side must have."""

    def __call__(self, hr: Tensor, seed: int) -> tuple[Tensor, dict[str, Any]]:
        """Degrade ``(3, H, W)`` in [0, 1]: the small picture, and what there is to say of it."""


class _ByRules:
    """The two-stage degradation, drawn by the seed or replayed."""

    def __init__(self, replay: list[float] | None) -> None:
        import torch

        from sr_cli.degradation.repeatable import RepeatableTwoStage
        from sr_cli.degradation.two_stage import SMALLEST_SIDE

        self.model = RepeatableTwoStage()
        self.scale, self.smallest = self.model.scale, SMALLEST_SIDE
        self.replay = None if replay is None else torch.tensor(replay)

    def __call__(self, hr: Tensor, seed: int) -> tuple[Tensor, dict[str, Any]]:
        lr, vector = self.model.degrade(hr, seed, self.replay)
        return lr, _facts(vector.tolist(), self.model.preset)


class _Learned:
    """A degradation that was learned from pictures."""

    def __init__(self, path: Path) -> None:
        from sr_cli.zoo.learned import load_learned

        self.model = load_learned(path)
        self.name = path.name
        self.scale = self.model.kernel.scale
        self.smallest = max(self.model.kernel.size // 2 + 1, self.scale)

    def __call__(self, hr: Tensor, seed: int) -> tuple[Tensor, dict[str, Any]]:
        import torch

        lr, kernels = self.model.degrade(hr[None], torch.Generator().manual_seed(seed))
        return lr[0], {"layout": None, "learned": self.name, "kernel": kernels[0].tolist()}


def _way(degradation: Path | None) -> _Way:
    from sr_cli.zoo.weights import SUFFIXES

    if degradation is not None and degradation.name.lower().endswith(SUFFIXES):
        return _Learned(degradation)
    return _ByRules(None if degradation is None else _vector(degradation))


def _degraded(source: Source, how: _Way, seed: int) -> tuple[Floats, dict[str, Any], list[str]]:
    """The small picture, what was done to it, and what there is to say of the large one."""
    import torch

    from sr_cli.degradation.repeatable import seed_for
    from sr_cli.images import PictureError, read, visible_rgb

    if source.problem:
        raise PictureError(source.problem)
    picture = read(source.content)
    rgb = visible_rgb(picture)
    height, width = (side // how.scale * how.scale for side in rgb.shape[:2])
    if min(height, width) < how.smallest:
        raise PictureError(f"its sides must be at least {how.smallest} pixels")
    hr = torch.from_numpy(rgb[:height, :width].copy()).permute(2, 0, 1)
    lr, facts = how(hr, seed_for(source.path.name, seed))
    notes = [*picture.metadata.notes]
    if picture.alpha is not None:
        notes.append("its transparency is left out")
    return lr.permute(1, 2, 0).numpy(), {**facts, "seed": seed}, notes


def _write(target: Path, rgb: Floats, facts: dict[str, Any], *, keep: bool) -> None:
    """Both files, or neither; see `sr_cli.temporary.replacing`."""
    from sr_cli.images import Picture, prepare, write
    from sr_cli.temporary import AppearedError, replacing

    prepare(target, format="png", width=rgb.shape[1], height=rgb.shape[0])
    written = False
    try:
        # What was done takes its place only when the picture that it was done to has.
        with replacing(target.with_suffix(".json"), keep=keep) as stream:
            stream.write((json.dumps(facts, indent=1) + "\n").encode())
            stream.flush()
            write(Picture(rgb), target, keep=keep)
            written = True
    except AppearedError:
        if written:  # and it was the other that has appeared
            target.unlink(missing_ok=True)
        raise


_DECIMALS = 5
"""Of values in units: no more can be had of a normalised float32 of a JPEG quality."""
_IDLE = {"beta": 1.0, "jpeg_quality": 100.0}
"""Values of what does not apply, where they are not 0."""


def _facts(vector: list[float], preset: str) -> dict[str, Any]:
    from sr_cli.degradation.layout import TWO_STAGE

    values, applies = TWO_STAGE.decode(vector), TWO_STAGE.applicable(vector)
    return {
        "layout": TWO_STAGE.name,
        "preset": preset,
        "vector": vector,
        "values": {
            # + 0, since what is rounded can be -0.
            p.key: round(values[p.key], _DECIMALS) + 0.0 if applied else _IDLE.get(p.name, 0.0)
            for p, applied in zip(TWO_STAGE.parameters, applies, strict=True)
        },
    }


def _vector(path: Path) -> list[float]:
    """The vector of a JSON file: the object itself, or its ``degradation``."""
    from sr_cli.degradation.layout import TWO_STAGE

    try:
        text = path.read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if line.startswith("{")]
        if len(lines) > 1:
            raise console.CommandError(
                f"{path} holds {len(lines)} estimates, a line each; keep the one to be replayed."
            )
        content: Any = json.loads(text)
        found = content.get("degradation", content)
        layout = found.get("layout", TWO_STAGE.name)
        if layout is None:  # numbers that nobody knows, or a learned degradation, which has none
            raise ValueError
        if layout != TWO_STAGE.name:
            raise console.CommandError(
                f"{path} is an estimate of the kind '{layout}'; only those of the kind "
                f"'{TWO_STAGE.name}', as of {DEFAULT_MODEL}, can be replayed."
            )
        vector = found["vector"]
        if len(vector) != len(TWO_STAGE) or not all(_is_number(one) for one in vector):
            raise ValueError
        return [float(number) for number in vector]
    except OSError as error:
        raise console.CommandError(f"Cannot read {path}: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        raise console.CommandError(
            f"{path} holds no degradation vector of {len(TWO_STAGE)} numbers. Make one with "
            "`sr-cli estimate-degradation --json`."
        ) from None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
