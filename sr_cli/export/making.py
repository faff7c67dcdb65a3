"""From what a user calls a model to an ONNX file of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from sr_cli import __version__
from sr_cli.export.eight_bits import quantised
from sr_cli.export.halved import halved
from sr_cli.export.unrolled import unrolled
from sr_cli.inference.backend import Precision
from sr_cli.inference.errors import InferenceError
from sr_cli.inference.onnx_file import LOWEST_OPSET, PRODUCER, Facts, OnnxFile
from sr_cli.temporary import replacing, sweep
from sr_cli.zoo import store
from sr_cli.zoo.loading import LoadedModel, load, weights_file
from sr_cli.zoo.manifest import find, of_numbers
from sr_cli.zoo.mixture import parse, short

HIGHEST_OPSET = 23
"""What torch's exporter writes."""


@dataclass(frozen=True)
class Source:
    """A model with what a file of it has to say."""

    loaded: LoadedModel
    sha256: str
    """Of its weights file."""
    licence: str | None
    """Of the weights; None if nobody said."""


def source(name: str) -> Source:
    """A model.

    Args:
        name: As of `sr_cli.zoo.loading.load`.

    Raises:
        ZooError: There is no such model, or its weights cannot be had.
    """
    if parse(name) is not None:  # which is in no file
        loaded = load(name)
        return Source(loaded, loaded.digest, None)
    path = weights_file(name) or store.locate(find(name))
    loaded = load(name)
    model = of_numbers(loaded.digest)
    return Source(loaded, store.sha256(path), model.licence if model else None)


def made(
    origin: Source,
    precision: Precision = "fp32",
    opset: int = LOWEST_OPSET,
    calibration: Iterable[NDArray[np.float32]] = (),
) -> OnnxFile:
    """Export a model.

    Args:
        origin: What to export.
        precision: ``fp32``, ``fp16`` or ``int8``.
        opset: Version of the standard operators, 18 to 23.
        calibration: For int8: pictures such as the model is for, ``(H, W, 3)`` in [0, 1].

    Raises:
        InferenceError: The network cannot be exported so; the message says why.
    """
    if not LOWEST_OPSET <= opset <= HIGHEST_OPSET:
        raise InferenceError(f"The opset must be from {LOWEST_OPSET} to {HIGHEST_OPSET}.")
    loaded = origin.loaded
    model, steps = unrolled(loaded.network, opset)
    name = short(loaded.name)
    facts = Facts(
        name,
        __version__,
        loaded.scale,
        "fp32",
        origin.sha256,
        origin.licence,
        loaded.layout,
        loaded.estimate,
        steps,
    )
    return converted(OnnxFile(model, facts, name), precision, calibration)


def converted(
    file: OnnxFile, precision: Precision, calibration: Iterable[NDArray[np.float32]] = ()
) -> OnnxFile:
    """A file in single precision in another one; arguments as of `made`."""
    model, facts = file.model, replace(file.facts, precision=precision)
    if precision == "fp16":
        model = halved(model, facts.steps)
    elif precision == "int8":
        model = quantised(model, facts.steps, calibration)
    elif precision != "fp32":
        raise InferenceError(f"ONNX files are made in fp32, fp16 and int8, not in {precision}.")
    model.producer_name, model.producer_version = PRODUCER, __version__
    helper.set_model_props(model, facts.properties())
    onnx.checker.check_model(model, full_check=True)
    return OnnxFile(model, facts, file.name)


def write(file: OnnxFile, path: Path, *, keep: bool = False) -> None:
    """Write a file, which appears whole or not at all.

    Args:
        file: What `made` made.
        path: Where to.
        keep: Whether a file that is there by then is kept, and is an `AppearedError`.
    """
    sweep(path.parent)
    with replacing(path, keep=keep) as stream:
        stream.write(content(file))


def content(file: OnnxFile) -> bytes:
    """What `write` writes."""
    data: bytes = file.model.SerializeToString(deterministic=True)
    return data
