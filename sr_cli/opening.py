"""From what a user calls a model to an engine that runs it.  Imports torch only where it must."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sr_cli.degradation.layout import Layout
from sr_cli.inference.engine import Engine
from sr_cli.inference.errors import InferenceError as InferenceError
from sr_cli.zoo.mixture import parse

if TYPE_CHECKING:
    import torch

    from sr_cli.inference.backend import Precision
    from sr_cli.inference.onnx_file import OnnxFile

PrecisionChoice = Literal["auto", "fp32", "fp16", "bf16", "int8"]
BackendChoice = Literal["auto", "torch", "onnx"]


@dataclass(frozen=True)
class OpenModel:
    """A model on a device, ready for pictures, with what is known of its estimates."""

    name: str
    engine: Engine
    layout: Layout | None
    """Of the degradation vector; None if the model estimates nothing that people have words for."""
    estimate: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Measured skill a number, as in the manifest."""

    @property
    def scale(self) -> int:
        """Enlargement."""
        return self.engine.scale


def names_onnx_file(name: str) -> bool:
    """Whether a model's name is an ``.onnx`` file's, here or on the Hub."""
    address = name.partition("@")[0] if name.startswith("hf:") else name
    return address.lower().endswith(".onnx")


def open_model(
    name: str,
    device: str = "auto",
    precision: PrecisionChoice = "auto",
    backend: BackendChoice = "auto",
    told: Callable[[str], None] | None = None,
) -> OpenModel:
    """Load a model and put it on a device.

    Args:
        name: From the manifest, a path, ``hf:owner/repo/file[@revision]``, or a mixture of two of
            these (`sr_cli.zoo.mixture`).  A file that ends in ``.onnx`` needs neither the manifest
            nor torch.
        device: ``auto``, or as torch names it.
        precision: ``auto`` for the fastest that the device computes in by itself, or what an
            ``.onnx`` file is in.
        backend: What runs it.  ``auto`` is torch where that is installed: on CPUs both are equally
            fast in single precision, and torch has bf16 (see docs/onnx.md).  It is ONNX Runtime
            for int8, and without torch.
        told: Called with a sentence before something that takes long.

    Raises:
        ZooError: There is no such model, or its weights cannot be had or read.
        InferenceError: The device, the precision or the backend is not to be had here.
    """
    if names_onnx_file(name):
        path = Path(name)
        if name.startswith("hf:"):
            from sr_cli.zoo import hub

            path = hub.fetch(hub.parse_reference(name))
        return _of_file(path, name, device, precision, backend)
    by_onnx = backend == "auto" and (precision == "int8" or not _has_torch())
    if backend == "onnx" or by_onnx:
        if parse(name) is not None:
            wanted = f" --precision {precision}" if precision in ("fp16", "int8") else ""
            raise InferenceError(
                f"{name} is a mixture of two models, which ONNX Runtime runs as a file: make one "
                f"by `sr-cli export-onnx -m {name}{wanted} -o mixture.onnx`."
            )
        return _exported(name, device, precision, told)
    return _with_torch(name, device, precision)


def _has_torch() -> bool:
    try:
        return importlib.util.find_spec("torch") is not None
    except (ModuleNotFoundError, ValueError):  # somebody keeps it from being imported
        return False


def _of_file(
    path: Path, name: str, device: str, precision: PrecisionChoice, backend: BackendChoice
) -> OpenModel:
    """An ONNX file of ours."""
    if backend == "torch":
        raise InferenceError("torch does not run ONNX files. Leave --backend out, or name weights.")
    from sr_cli.inference import onnx_backend
    from sr_cli.inference.onnx_file import read

    place = onnx_backend.place(device)
    file = read(path)
    if precision not in ("auto", file.facts.precision):
        instead = f"export it again with --precision {precision}"
        if precision == "bf16":
            instead = "take the weights that it was made from: torch computes in bf16"
        raise InferenceError(
            f"{name} computes in {file.facts.precision}. Leave --precision out, or {instead}."
        )
    return _running(file, name, place)


def _exported(
    name: str,
    device: str,
    precision: PrecisionChoice,
    told: Callable[[str], None] | None,
) -> OpenModel:
    """Any model, by way of an ONNX file that is made once."""
    from sr_cli.export import cache
    from sr_cli.inference import onnx_backend

    place = onnx_backend.place(device)
    if precision == "auto":
        precision = "fp32" if place == "cpu" else "fp16"
    if precision == "bf16":
        raise InferenceError("ONNX Runtime runs fp32, fp16 and int8; bf16 needs --backend torch.")
    if precision == "fp16" and place == "cpu":
        raise InferenceError("fp16 is slow on CPUs; use --precision fp32 or int8.")
    if precision == "int8" and place != "cpu":
        raise InferenceError("int8 is for CPUs; use --precision fp16 or --device cpu.")
    return _running(cache.exported(name, precision, told), name, place)


def _running(file: OnnxFile, name: str, place: str) -> OpenModel:
    from sr_cli.inference.onnx_backend import OnnxBackend

    engines: Path | None = None
    if place != "cpu":
        from sr_cli.export import cache

        engines = cache.folder() / "tensorrt"
    engine = Engine(OnnxBackend(file, place, engines))
    return OpenModel(name, engine, file.facts.layout, file.facts.estimate)


def _with_torch(name: str, device: str, precision: PrecisionChoice) -> OpenModel:
    from sr_cli.inference.torch_backend import torch_engine
    from sr_cli.zoo.loading import load

    place, chosen = torch_place(device, precision)
    loaded = load(name)
    engine = torch_engine(loaded.network, place, chosen, loaded.name)
    return OpenModel(loaded.name, engine, loaded.layout, loaded.estimate)


def torch_place(device: str, precision: PrecisionChoice) -> tuple[torch.device, Precision]:
    """Where torch is to run, and in what.

    Raises:
        InferenceError: There is no such device here, or it does not compute so.
    """
    from sr_cli.precision import automatic_precision

    if precision == "int8":
        raise InferenceError("torch runs fp32, fp16 and bf16; int8 needs --backend onnx.")
    place = torch_device(device)
    if precision == "fp16" and place.type == "cpu":
        raise InferenceError("fp16 is slow on CPUs; use --precision bf16 or fp32.")
    return place, automatic_precision(place) if precision == "auto" else precision


def torch_device(name: str) -> torch.device:
    """The torch device of a name; ``auto`` takes the fastest there is.

    Raises:
        InferenceError: There is no such device here.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
        if device.type == "meta":  # a device in name only
            raise RuntimeError(name)
    except (RuntimeError, AssertionError, ImportError):
        raise InferenceError(
            f"The device '{name}' is not usable here. Try --device auto or --device cpu."
        ) from None
    return device
