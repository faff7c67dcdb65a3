"""Saved states: nested tables of tensors and numbers, in a folder of files of at most 16 MB.

A state is written beside the last one and takes its place only when it is whole and on the disk, so
that a crash, a kill or a full disk leaves the last one as it was.

    stable/00012000/     the state of step 12,000 (old ones are removed when it is whole)
        index.json       everything that is no tensor, and where the tensors are
        part-000.safetensors ...
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

PART_BYTES = 15_000_000
"""Of tensors in one file; its header comes on top."""
INDEX = "index.json"
ASIDE = ".aside"
_TENSOR = "__tensor__"


class CheckpointError(Exception):
    """A state cannot be written or read; the message says why and what is left."""


def write(folder: Path, step: int, state: Mapping[str, Any]) -> Path:
    """Write a state, then remove the older ones.

    Args:
        folder: Of states of one kind.
        step: Names the state.
        state: Tables (with text or whole numbers as keys), lists, tensors, numbers and texts.

    Raises:
        CheckpointError: It could not be written; the states before are untouched.
    """
    final = folder / f"{step:08d}"
    partial = folder / f"{step:08d}.partial"
    aside = folder / f"{step:08d}{ASIDE}"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _write_files(partial, state)
        if final.exists():  # of the same step: kept until the new one is in its place
            shutil.rmtree(aside, ignore_errors=True)
            final.rename(aside)
        partial.rename(final)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise CheckpointError(
            f"The state of step {step} could not be written to {folder} ({error})."
        ) from None
    for other in folder.iterdir():
        if other != final:
            shutil.rmtree(other, ignore_errors=True)
    return final


def latest(folder: Path) -> Path | None:
    """The newest whole state of a folder."""
    for path in folder.glob(f"*{ASIDE}"):  # left by a kill between two renamings
        if not (back := path.with_suffix("")).exists():
            with contextlib.suppress(OSError):  # another process has been quicker
                path.rename(back)
    found = [path for path in folder.glob("*") if path.name.isdecimal() and (path / INDEX).exists()]
    return max(found, key=lambda path: int(path.name), default=None)


def read(path: Path) -> dict[str, Any]:
    """A state as it was written, tensors on the CPU.

    Raises:
        CheckpointError: Files are missing or damaged.
    """
    try:
        index = json.loads((path / INDEX).read_text(encoding="utf-8"))
        pieces: dict[str, list[Tensor]] = {}
        for part in index["parts"]:
            for key, tensor in load_file(path / part).items():
                name, _, number = key.rpartition("#")
                pieces.setdefault(name, []).insert(int(number), tensor)
        tensors = {
            name: (torch.cat(some) if len(some) > 1 else some[0]).view(index["shapes"][name])
            for name, some in pieces.items()
        }
        state: dict[str, Any] = _filled(index["state"], tensors)
    # Texts of other shapes lead to any of these.
    except (
        *(OSError, SafetensorError, ValueError, LookupError, RuntimeError, TypeError),
        *(AttributeError, RecursionError),
    ) as error:
        raise CheckpointError(f"{path} cannot be read as a training state: {error}") from None
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} cannot be read as a training state: it holds no table")
    return state


def _write_files(folder: Path, state: Mapping[str, Any]) -> None:
    tensors: dict[str, Tensor] = {}
    skeleton = _emptied(state, "", tensors)
    parts: list[str] = []
    for number, some in enumerate(_parts(tensors)):
        parts.append(f"part-{number:03d}.safetensors")
        save_file(some, folder / parts[-1])
        _flush(folder / parts[-1])
    shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
    document = {"parts": parts, "shapes": shapes, "state": skeleton}
    (folder / INDEX).write_text(json.dumps(document), encoding="utf-8")
    _flush(folder / INDEX)


def _flush(path: Path) -> None:
    """To the disk itself: only now is it known whether there was room."""
    with path.open("r+b") as file:  # Windows flushes only what may be written
        os.fsync(file.fileno())


def _emptied(value: Any, where: str, tensors: dict[str, Tensor]) -> Any:
    """The value as JSON can hold it, with names in place of its tensors, which are collected."""
    if isinstance(value, Tensor):
        tensors[where] = value.detach()
        return {_TENSOR: where}
    if isinstance(value, Mapping):
        # Adam's state is keyed by numbers, which JSON does not have.
        return {
            "keys": "number" if any(isinstance(key, int) for key in value) else "text",
            "values": {str(k): _emptied(v, f"{where}/{k}", tensors) for k, v in value.items()},
        }
    if isinstance(value, list | tuple):
        return [_emptied(item, f"{where}/{i}", tensors) for i, item in enumerate(value)]
    return value


def _filled(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_filled(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if _TENSOR in value:
        return tensors[value[_TENSOR]]
    key_of = int if value["keys"] == "number" else str
    return {key_of(k): _filled(v, tensors) for k, v in value["values"].items()}


def _parts(tensors: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The tensors, flat and in pieces, a file's worth at a time."""
    part: dict[str, Tensor] = {}
    room = PART_BYTES
    for name, tensor in tensors.items():
        flat = tensor.cpu().contiguous().flatten()
        at = number = 0
        while number == 0 or at < len(flat):
            if room < flat.element_size():
                yield part
                part, room = {}, PART_BYTES
            piece = flat[at : at + room // flat.element_size()].clone()
            part[f"{name}#{number}"] = piece
            room -= piece.nbytes
            at, number = at + len(piece), number + 1
    if part:
        yield part
