"""Exported models kept for the next time, beside what the Hub's client keeps.

Needs no torch unless a model has to be exported.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path

from sr_cli import __version__
from sr_cli.inference.alone import ALONE
from sr_cli.inference.backend import Precision
from sr_cli.inference.errors import InferenceError
from sr_cli.inference.onnx_file import FORMAT, OnnxFile, understood
from sr_cli.zoo import hub, store
from sr_cli.zoo.manifest import ZooError, find


def folder() -> Path:
    """Where they are; moves with ``HF_HOME``."""
    from huggingface_hub import constants

    return Path(constants.HF_HOME) / "sr-cli"


def exported(
    name: str, precision: Precision, told: Callable[[str], None] | None = None
) -> OnnxFile:
    """A model as an ONNX file, from the cache or made now.

    Args:
        name: As of `sr_cli.zoo.loading.load`.
        precision: ``fp32``, ``fp16`` or ``int8``.
        told: Called with a sentence if it has to be made.

    Raises:
        ZooError: There is no such model, or its weights cannot be had.
        InferenceError: It cannot be exported, or torch, which that takes, is not installed.
    """
    digest = _digest(name)
    if digest is None:
        return _made(name, precision, told)
    if file := _kept(digest, precision):
        return file
    with ALONE:
        # Another thread may have made it meanwhile.
        return _kept(digest, precision) or _made(name, precision, told)


def _kept(digest: str, precision: Precision) -> OnnxFile | None:
    """The file of these weights, if it is there and as it was written.

    A file whose bytes have changed can still be one that ONNX Runtime runs, to other pixels.
    """
    for path in _places(digest, precision):
        # Whatever is wrong with it, it can be made anew.
        with contextlib.suppress(OSError, InferenceError):
            data = path.read_bytes()
            if path == _place(digest, precision, data):
                return understood(data, str(path))
    return None


def _place(digest: str, precision: Precision, data: bytes) -> Path:
    """Where a file with this content is kept, which its name says."""
    return folder() / f"{_stem(digest, precision)}-{hashlib.sha256(data).hexdigest()}.onnx"


def _places(digest: str, precision: Precision) -> list[Path]:
    """Where it is, and what is there instead: damaged, or of before names told the content."""
    return sorted(folder().glob(f"{_stem(digest, precision)}*.onnx"))


def _stem(digest: str, precision: Precision) -> str:
    return f"{digest}-{__version__}-{FORMAT}-{precision}"


def _keep(
    file: OnnxFile, digest: str, precision: Precision, told: Callable[[str], None] | None = None
) -> None:
    """Write a file for the next time, in place of all that cannot be used."""
    from sr_cli.export import making

    place = _place(digest, precision, making.content(file))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        making.write(file, place)
    except OSError as error:  # it takes longer each time, and that is all
        if told:
            told(
                f"The exported file could not be kept in {folder()} ({error.strerror}), so it is "
                "made anew each time; HF_HOME names another place."
            )
        return
    with contextlib.suppress(OSError):  # the new one is there, whatever becomes of those
        for useless in set(_places(digest, precision)) - {place}:
            useless.unlink()


def _digest(name: str) -> str | None:
    """Of the weights file that a name stands for, as far as that can be told without torch."""
    if name.startswith(hub.PREFIX):
        return store.sha256(hub.fetch(hub.parse_reference(name)))
    if Path(name).is_file():
        return store.sha256(Path(name))
    try:
        model = find(name)
    except ZooError:
        return None
    return model.weights.sha256 if model.weights else None


def _made(name: str, precision: Precision, told: Callable[[str], None] | None) -> OnnxFile:
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError:
        raise InferenceError(
            f"{name} has to be exported first, which needs torch. Install it, or name a file that "
            "`sr-cli export-onnx` made elsewhere."
        ) from None
    if told:
        told(f"Exporting {name} to ONNX in {precision}, which is done once.")
    from sr_cli.export import making
    from sr_cli.export.calibration import bundled
    from sr_cli.export.verify import verify

    origin = making.source(name)
    file = making.made(origin, precision, calibration=bundled(origin.loaded.scale))
    verify(file, origin.loaded.network)
    _keep(file, origin.sha256, precision, told)
    return file
