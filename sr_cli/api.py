"""The Python interface: a model by its name, pictures in and out as they are.

    model = sr_cli.load("dan-real-x4")
    large = model.upscale(PIL.Image.open("photo.jpg"))

Pictures may be

- `PIL.Image.Image` with 8 or 16 bits a channel; the result is in the mode nearest to it that can
  hold it (``P`` becomes ``RGB`` or ``RGBA``).  Modes ``I`` and ``F`` do not say which number is
  white, so they are refused, but for ``I`` as Pillow reads it from a PNG or PPM file of 16 bits.
  Its resolution and its colour profile go along, the latter unless it is one of other colours (that
  of inks).  EXIF orientation is not applied: see `PIL.ImageOps.exif_transpose`;
- numpy arrays ``(H, W)``, ``(H, W, 1)``, ``(H, W, 2)``, ``(H, W, 3)`` or ``(H, W, 4)`` of uint8,
  uint16 or any float in [0, 1]; two and four channels are gray and RGB with alpha;
- torch tensors ``(C, H, W)`` or ``(N, C, H, W)`` with as many channels, of uint8 or any float in
  [0, 1], on any device.

Floats that a filter has pushed a little out of [0, 1] count as black and white; a picture with some
beyond [-0.5, 1.5] has another scale, such as 0 to 255 or -1 to 1, and is refused.

A process that forks (`multiprocessing` does by "fork") loads its models in the children, and puts
no picture through one before: torch's threads do not survive a fork, and a child of a process that
has used them waits for ever.  Where that cannot be helped, take the start method "spawn" or
"forkserver".

Models can be pickled: the other process loads them anew.  One that enlarges pictures of very many
sizes grows to half a gigabyte, since torch keeps what it has prepared for each; the environment
variable ``ONEDNN_PRIMITIVE_CACHE_CAPACITY=64`` or ``backend="onnx"`` keeps it smaller.

Results are of the same kind, type, shape and device, `Upscaler.scale` times as large unless another
enlargement is asked for.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from sr_cli.degradation.answer import to_json
from sr_cli.degradation.explain import Step, explain
from sr_cli.degradation.summary import summary
from sr_cli.inference.engine import ORIENTATIONS
from sr_cli.opening import (
    BackendChoice,
    OpenModel,
    PrecisionChoice,
    names_onnx_file,
    open_model,
)
from sr_cli.zoo.manifest import DEFAULT_MODEL

if TYPE_CHECKING:
    import torch
    from PIL import Image

Floats = NDArray[np.float32]
PictureT = TypeVar("PictureT", "Image.Image", "NDArray[Any]", "torch.Tensor")

HIGHEST = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}
"""White, by the type of whole numbers."""
OVERSHOOT = 0.5
"""How far beyond [0, 1] floats may lie: Lanczos filters reach 0.2 at corners, and a picture from 0
to 255 or from -1 to 1 is far beyond."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """What a model says had happened to a picture.  ``print`` shows it in words."""

    vector: Floats
    """The network's normalised numbers, whatever they are worth."""
    steps: tuple[Step, ...]
    """The same decoded, step for step, each number with its usual error; numbers that the model
    cannot tell from pictures have no value."""
    json: dict[str, Any]
    """As `sr-cli estimate-degradation --json` prints it, and `sr-cli degrade` reads it."""

    @property
    def summary(self) -> str | None:
        """The same in a sentence, coarsely; None if nothing is known that could be put so."""
        return summary(self.steps)

    def __str__(self) -> str:
        lines = [f"{step.title}, {step.name}: {step.text}" for step in self.steps]
        return "\n".join(lines + ([f"In short: {self.summary}."] if self.summary else []))


class Upscaler:
    """A model that is ready for pictures.  Made by `load`."""

    def __init__(self, opened: OpenModel, asked_for: tuple[str, ...] = ()) -> None:
        self._opened = opened
        self._asked_for = asked_for

    def __reduce__(self) -> tuple[Callable[..., Upscaler], tuple[str, ...]]:
        """Goes to another process as what `load` was asked for, and is loaded there."""
        return _again, self._asked_for

    @property
    def name(self) -> str:
        """As in `sr-cli models list`, or as the file was called."""
        return self._opened.name

    @property
    def scale(self) -> int:
        """Enlargement."""
        return self._opened.scale

    def upscale(
        self,
        image: PictureT,
        *,
        tile: int | None = None,
        tta: bool = False,
        outscale: float | None = None,
    ) -> PictureT:
        """Enlarge a picture.

        Alpha is enlarged beside the colours.  A gray picture stays gray, be it in three
        equal channels.

        Args:
            image: See the top of this module.
            tile: Side of the tiles in input pixels; 0 for the whole picture at once, None to
                choose.  Networks of the DAN family give the same result whatever it is.
            tta: Whether to average over all flips and turns (self-ensemble): a little better, and
                eight times as long.
            outscale: Enlargement of the result, any number above zero; what the network made is
                resized to it by Lanczos interpolation.  None for `scale`.

        Returns:
            A picture like the one given, `scale` or `outscale` times as large.

        Raises:
            TypeError: It is no picture of a known kind.
            ValueError: It has an impossible shape, numbers beyond those above, or a mode that does
                not say what they mean; or there is no such tile or enlargement.
            sr_cli.inference.errors.InferenceError: What the network made are no numbers, or there
                is no room for its features.
            MemoryError: There is none for the result.
        """
        if outscale is not None and not 0 < outscale < math.inf:
            raise ValueError(f"outscale must be a number above 0, not {outscale}")
        turns = len(ORIENTATIONS) if tta else 1
        factor = self.scale if outscale is None else outscale
        return _converted(image, lambda pixels: self._enlarged(pixels, tile, turns, factor))

    def estimate(self, image: PictureT, *, tile: int | None = None) -> Estimate | None:
        """Say what had happened to a picture.

        Args:
            image: See the top of this module, without a batch dimension.
            tile: As of `upscale`.

        Returns:
            None for a model that estimates nothing, or nothing that there are words for.

        Raises:
            TypeError: It is no picture of a known kind.
            ValueError: As of `upscale`; or it is a batch.
            sr_cli.inference.errors.InferenceError: As of `upscale`.
        """
        layout, skill = self._opened.layout, self._opened.estimate
        if layout is None:
            return None
        seen: list[Floats] = []
        _converted(image, seen.append)
        if len(seen) != 1:
            raise ValueError(f"estimates are made of one picture at a time, not of {len(seen)}")
        vector = self._opened.engine.estimate(_colours(seen[0]), tile)
        assert vector is not None  # a model with a layout estimates
        numbers = vector.tolist()
        return Estimate(vector, explain(layout, numbers, skill), to_json(layout, numbers, skill))

    def _enlarged(self, pixels: Floats, tile: int | None, turns: int, factor: float) -> Floats:
        """``(H, W, C)`` in [0, 1] with 1 to 4 channels, to the same of the larger size."""
        from sr_cli.images.colour import gray_of, is_colourless, luma
        from sr_cli.inference.resampling import enlarge_plane, resize, scaled

        height, width, channels = pixels.shape
        size = scaled(width, factor), scaled(height, factor)
        if size[0] * size[1] * channels * pixels.itemsize > sys.maxsize:  # numpy has other words
            raise MemoryError(f"a picture of {size[0]} x {size[1]} pixels fits into no memory")
        rgb = self._opened.engine.upscale(_colours(pixels), tile, orientations=turns).rgb
        if channels <= 2:
            large = luma(rgb).clip(0, 1)
        elif is_colourless(pixels[..., :3]):
            large = gray_of(rgb).clip(0, 1)
        else:
            large = rgb
        if channels in (2, 4):
            alpha = enlarge_plane(pixels[..., -1], self.scale)
            large = np.concatenate((large, alpha[..., None]), 2)
        if factor == self.scale:
            return large
        return resize(large, size)


def load(
    name: str | os.PathLike[str] = DEFAULT_MODEL,
    *,
    device: str = "auto",
    precision: PrecisionChoice | None = None,
    backend: BackendChoice = "auto",
) -> Upscaler:
    """A model, ready for pictures; `sr_cli.api` says which kinds.

    Args:
        name: From `sr-cli models list`, a path of a weights file or of an ``.onnx`` file that
            `sr-cli export-onnx` made, ``hf:owner/repo/file[@revision]``, or a mixture of two
            weights of one network: ``dan-real-x4+dan-real-gan-x4:0.5``.
        device: ``auto`` for the fastest there is, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.  On CUDA,
            torch's convolutions compute without TF32 from here on, in the whole process: with it
            single precision would not be one.
        precision: ``fp32`` gives the same pixels everywhere, ``auto`` the fastest that the device
            computes in by itself.  None for what an ``.onnx`` file was made in, and ``fp32`` for
            everything else.
        backend: What runs the network: ``auto``, ``torch`` or ``onnx``.

    Raises:
        sr_cli.zoo.manifest.ZooError: There is no such model, or its weights cannot be had.
        sr_cli.inference.errors.InferenceError: The device, precision or backend is not to be had.
        ValueError: There is no precision or backend of that name.
    """
    name = os.fspath(name)
    if precision is None:
        precision = "auto" if names_onnx_file(name) else "fp32"
    _check_choice("precision", precision, get_args(PrecisionChoice))
    _check_choice("backend", backend, get_args(BackendChoice))
    asked_for = (name, device, precision, backend)
    return Upscaler(open_model(*asked_for), asked_for)


def _again(name: str, device: str, precision: PrecisionChoice, backend: BackendChoice) -> Upscaler:
    return load(name, device=device, precision=precision, backend=backend)


def _check_choice(what: str, given: str, choices: tuple[str, ...]) -> None:
    if given not in choices:
        raise ValueError(f"{what} must be one of {', '.join(choices)}, not {given!r}")


def _colours(pixels: Floats) -> Floats:
    """RGB of pixels with 1 to 4 channels, the hidden ones coloured like their surroundings."""
    from sr_cli.images import bleed

    channels = pixels.shape[2]
    rgb = np.ascontiguousarray(np.broadcast_to(pixels[..., :1], (*pixels.shape[:2], 3)))
    if channels > 2:
        rgb = np.ascontiguousarray(pixels[..., :3])
    return bleed(rgb, pixels[..., -1]) if channels in (2, 4) else rgb


Change = Callable[[Floats], Any]
"""Of ``(H, W, C)`` in [0, 1] into the same; None for a look without a result."""


def _converted(image: Any, change: Change) -> Any:
    """Apply a function of floats to a picture of any kind; the same kind comes back."""
    if isinstance(image, np.ma.MaskedArray):
        raise TypeError("a masked array does not say what is behind its mask: give one without")
    if isinstance(image, np.ndarray):
        return _of_array(np.asarray(image), change)
    module = type(image).__module__
    if module.startswith("torch") and hasattr(image, "detach"):
        return _of_tensor(image, change)
    from PIL import Image

    if isinstance(image, Image.Image):
        return _of_pil(image, change)
    raise TypeError(
        f"a picture must be a PIL image, a numpy array or a torch tensor, not {type(image)}"
    )


def _of_array(array: NDArray[Any], change: Change) -> Any:
    if array.ndim == 2:
        result = _of_array(array[..., None], change)
        return None if result is None else result[..., 0]
    _check(array.shape, array.ndim == 3 and 1 <= array.shape[-1] <= 4, "(H, W) or (H, W, 1 to 4)")
    result = change(_floats(array))
    return None if result is None else _back(result, array.dtype)


def _of_tensor(tensor: torch.Tensor, change: Change) -> Any:
    import torch

    if tensor.ndim == 4:
        _check(tuple(tensor.shape), True, "(N, 1 to 4, H, W) with something in it")
        results = [_of_tensor(one, change) for one in tensor]
        return None if any(one is None for one in results) else torch.stack(results)
    channels = tensor.shape[0] if tensor.ndim == 3 else 0
    _check(tuple(tensor.shape), 1 <= channels <= 4, "(1 to 4, H, W) or (N, 1 to 4, H, W)")
    # numpy knows no bfloat16.
    plain = tensor.detach().cpu()
    array = (plain.float() if plain.is_floating_point() else plain).permute(1, 2, 0).numpy()
    result = _of_array(array, change)
    if result is None:
        return None
    back = torch.from_numpy(np.ascontiguousarray(result.transpose(2, 0, 1)))
    return back.to(tensor.device, tensor.dtype)


def _of_pil(image: Image.Image, change: Change) -> Any:
    from PIL import Image

    from sr_cli.images import colour

    result = _of_array(_pil_pixels(image), change)
    if result is None:
        return None
    large, said = Image.fromarray(result), image.info
    if "dpi" in said:
        large.info["dpi"] = said["dpi"]
    profile = said.get("icc_profile")
    if profile and colour.fits(profile, "rgb" if large.mode.startswith("RGB") else "gray"):
        large.info["icc_profile"] = profile
    return large


def _pil_pixels(image: Image.Image) -> NDArray[Any]:
    # Of files with 16 bits Pillow makes mode I too, and such an image still knows its format.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return np.asarray(image, np.uint16)
    if image.mode in ("I", "F"):
        raise ValueError(
            f"an image of mode {image.mode} does not say which number is white: give one of mode "
            "L, RGB or I;16, or an array of floats in [0, 1]"
        )
    return np.asarray(image.convert(_pil_mode(image)))


def _pil_mode(image: Image.Image) -> str:
    """The mode with 8 bits a channel that holds an image's gray or colours, and its alpha."""
    gray = image.mode in ("1", "L", "LA", "La")
    alpha = image.has_transparency_data
    return ("LA" if alpha else "L") if gray else ("RGBA" if alpha else "RGB")


def _floats(array: NDArray[Any]) -> Floats:
    if white := HIGHEST.get(_native(array.dtype)):
        return array.astype(np.float32) / np.float32(white)
    if np.issubdtype(array.dtype, np.floating):
        low, high = array.min(), array.max()
        if not (low >= -OVERSHOOT and high <= 1 + OVERSHOOT):  # nor is NaN
            raise ValueError(
                f"floats must be in [0, 1], not from {low:g} to {high:g}: scale them, or give "
                "whole numbers as uint8 or uint16"
            )
        return array.clip(0, 1).astype(np.float32)
    raise TypeError(f"pixels must be uint8, uint16 or floats in [0, 1], not {array.dtype}")


def _back(pixels: Floats, dtype: np.dtype[Any]) -> NDArray[Any]:
    if _native(dtype) in HIGHEST:
        from sr_cli.images.colour import quantised

        return quantised(pixels, 8 * dtype.itemsize).astype(dtype, copy=False)
    return pixels.astype(dtype, copy=False)


def _native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type in this machine's order of bytes."""
    return dtype.newbyteorder("=")


def _check(shape: tuple[int, ...], right: bool, wanted: str) -> None:
    if not right or not all(shape):
        raise ValueError(f"a picture must be of shape {wanted}, not {shape}")
