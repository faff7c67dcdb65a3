"""What the engine does when memory, range or exactness run out, and what else it offers."""

from __future__ import annotations

import copy
import errno
import json
import mmap
import os
import re
import tempfile
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sr_cli.inference.backend import Backend, Precision
from sr_cli.inference.engine import Engine
from sr_cli.inference.errors import InferenceError
from sr_cli.inference.memory import automatic_tile
from sr_cli.inference.plan import Step, from_json, steps_of, to_json
from sr_cli.inference.store import Memory
from sr_cli.inference.tiles import band_windows
from sr_cli.inference.torch_backend import TorchBackend, _Strided, torch_engine
from sr_cli.inference.walk import Tiling, Walk
from sr_cli.networks.blocks import BLOCK_HALO, UPSAMPLER_HALO
from sr_cli.networks.dan import DAN, HEAD_HALO
from sr_cli.networks.danv2 import DANv2
from sr_cli.networks.stages import DEGRADATION, LR, POSITION, SR, Stage, SuperResolver
from sr_cli.precision import automatic_precision
from tests.conftest import scene

CPU = torch.device("cpu")


def network(features: int = 8, blocks: int = 8) -> DAN:
    torch.manual_seed(2)
    return DAN(features=features, blocks=blocks).eval()


def picture(height: int, width: int) -> NDArray[np.float32]:
    return scene(height, width).astype(np.float32) / 255


class Cramped(TorchBackend):
    """A device on which no input larger than a limit fits."""

    def __init__(self, net: SuperResolver, pixels: int) -> None:
        super().__init__(net, CPU, "fp32")
        self.pixels = pixels
        self.refused = 0

    def run(self, step: Step, inputs: Sequence[Tensor], *, careful: bool = False) -> Tensor:
        if any(one.shape[2] * one.shape[3] > self.pixels for one in inputs):
            self.refused += 1
            raise torch.OutOfMemoryError("out of memory")
        return super().run(step, inputs, careful=careful)


def test_tiles_shrink_when_memory_runs_out_and_the_picture_goes_on() -> None:
    rgb = picture(150, 170)
    right = torch_engine(network()).upscale(rgb)
    backend = Cramped(network(), 150 * 150)
    result = Engine(backend).upscale(rgb)
    assert backend.refused
    assert np.abs(result.rgb - right.rgb).max() < 1e-4
    assert np.allclose(result.vector, right.vector, atol=1e-5)
    assert len(result.notes) == 1 and "memory ran out" in result.notes[0]


@pytest.mark.parametrize("shape", [(60, 200), (200, 60)], ids=["wide", "tall"])
def test_memory_may_run_out_at_any_tile(shape: tuple[int, int]) -> None:
    """The last one of the enlarged picture, which is 64 pixels high or wide at x4."""

    class Filling(TorchBackend):
        refused = 0

        def run(self, step: Step, inputs: Sequence[Tensor], *, careful: bool = False) -> Tensor:
            if step.output == SR and done[-1][0] + 60 * 64 >= done[-1][1] and not self.refused:
                self.refused += 1
                raise torch.OutOfMemoryError("out of memory")
            return super().run(step, inputs, careful=careful)

    done: list[tuple[int, int]] = []
    rgb = picture(*shape)
    backend = Filling(network(), CPU, "fp32")
    result = Engine(backend).upscale(rgb, 128, lambda *both: done.append(both))
    assert backend.refused and done[-1][0] == done[-1][1]
    assert np.abs(result.rgb - torch_engine(network()).upscale(rgb).rgb).max() < 1e-4
    assert result.notes == ("memory ran out, so it went on with tiles of 64 pixels",)


def test_torch_says_in_its_own_words_that_memory_ran_out() -> None:
    backend = TorchBackend(network(), CPU, "fp32")
    with pytest.raises(RuntimeError) as raised:
        torch.empty(10**14)
    assert backend.ran_out_of_memory(raised.value)
    assert not backend.ran_out_of_memory(RuntimeError("sizes do not match"))


@pytest.mark.parametrize(
    "words",
    [
        "MPS backend out of memory (MPS allocated: 9.00 GB, other allocations: 0 bytes, max "
        "allowed: 9.07 GB). Tried to allocate 256 bytes on private pool.",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "CUDA error: out of memory",
    ],
)
def test_gpus_say_in_their_words_that_memory_ran_out(words: str) -> None:
    assert TorchBackend(network(), CPU, "fp32").ran_out_of_memory(RuntimeError(words))


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_what_an_allocator_keeps_is_let_go_when_memory_ran_out(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    freed: list[str] = []
    for other in ("cuda", "mps"):
        monkeypatch.setattr(f"torch.{other}.empty_cache", lambda other=other: freed.append(other))
    backend = TorchBackend(network(), CPU, "fp32")
    backend.place = torch.device(kind)
    assert not backend.ran_out_of_memory(RuntimeError("sizes do not match")) and not freed
    assert backend.ran_out_of_memory(torch.OutOfMemoryError("out of memory")) and freed == [kind]


class OnApple(Tensor):
    """As Apple's GPUs have them."""

    def double(self, *_: Any, **__: Any) -> Tensor:  # type: ignore[override]
        raise TypeError("the MPS framework doesn't support float64. Please use float32 instead.")

    def cpu(self, *_: Any, **__: Any) -> Tensor:  # type: ignore[override]
        return self.as_subclass(Tensor)


def test_a_device_without_float64_has_its_sums_taken_on_the_host() -> None:
    backend = TorchBackend(network(), CPU, "fp32")
    cells = torch.rand((1, 3, 40, 50), generator=torch.Generator().manual_seed(0))
    right = backend.sums(cells)
    backend.place = torch.device("mps")
    found = backend.sums(cells.as_subclass(OnApple))
    assert found.dtype == np.float64 and (found == right).all()


def test_where_the_system_gives_no_memory_features_go_to_a_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend = TorchBackend(network(), CPU, "fp32")
    memory, right = Memory(backend, limit=10**9), mmap.mmap

    def refused(file: int, size: int) -> mmap.mmap:
        if file == -1:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        return right(file, size)

    monkeypatch.setattr(mmap, "mmap", refused)
    band = memory.take(2, 3, 4)
    assert band.values.shape == (1, 2, 3, 4)
    assert (band.size, memory.held, memory.spilled) == (0, 0, 2 * 3 * 4 * 4)

    def nowhere() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    with pytest.raises(InferenceError, match=r"no folder for temporary files.*set TMPDIR"):
        memory.take(2, 3, 4)


def test_memory_of_bands_that_were_given_back_serves_others() -> None:
    band = 2 * 3 * 4 * 4
    memory = Memory(TorchBackend(network(), CPU, "fp32"), limit=band)
    for shape in ((2, 3, 4), (2, 4, 3), (2, 4, 3), (2, 3, 4)):
        memory.give_back(memory.take(*shape))
    assert (memory.held, memory.peak, memory.spilled) == (band, band, 0)
    kept, _ = memory.take(2, 3, 4), memory.take(2, 3, 4)
    assert (kept.size, memory.held, memory.spilled) == (band, band, band)


class Discrete(TorchBackend):
    """A device with memory of its own, of which there is none for features."""

    on_host = False
    words = "CUDA out of memory"

    def empty(self, channels: int, rows: int, columns: int) -> Tensor:
        raise torch.OutOfMemoryError(self.words) if self.words else RuntimeError("a bug")


def test_where_a_device_gives_no_memory_features_go_to_a_file() -> None:
    rgb = picture(90, 60)
    right = torch_engine(network()).upscale(rgb, 32)
    backend = Discrete(network(), CPU, "fp32")
    assert np.array_equal(Engine(backend, memory_limit=10**9).upscale(rgb, 32).rgb, right.rgb)
    backend.words = ""
    with pytest.raises(RuntimeError, match="a bug"):
        Engine(backend, memory_limit=10**9).upscale(rgb, 32)


def test_features_are_limited_by_the_memory_that_they_are_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def free(device: str) -> int:
        asked.append(device)
        return 0

    monkeypatch.setattr("sr_cli.inference.memory.free_memory", free)
    for kind in (Discrete, TorchBackend):
        backend = kind(network(blocks=1), CPU, "fp32")
        backend.device = "cuda:1"
        Engine(backend).upscale(picture(10, 10), 16)
    assert asked == ["cuda:1", "cpu"]


def test_where_nothing_fits_the_error_comes_through() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        Engine(Cramped(network(), 20)).upscale(picture(60, 60))


def test_other_errors_are_not_taken_for_too_little_memory() -> None:
    class Broken(TorchBackend):
        def run(self, step: Step, inputs: Sequence[Tensor], *, careful: bool = False) -> Tensor:
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        Engine(Broken(network(), CPU, "fp32")).upscale(picture(60, 60))


def test_a_tile_out_of_half_precisions_range_is_done_again() -> None:
    """Huge features overflow fp16; single precision holds them."""
    net = network()
    with torch.no_grad():
        net.restorer.body[0].conv1.weight *= 3e5
        net.restorer.body[0].conv2.weight *= 1e-5
    rgb = picture(40, 40)
    half = torch_engine(net, None, "fp16").upscale(rgb)
    single = torch_engine(net).upscale(rgb)
    assert np.isfinite(half.rgb).all()
    assert np.abs(half.rgb - single.rgb).max() < 0.02
    (told,) = half.notes
    assert re.search(r"half precision (once|\d+ times) and was done again in fp32", told)
    assert torch_engine(network(), None, "fp16").upscale(rgb).notes == ()


def test_features_beyond_half_precision_are_not_called_damaged_weights() -> None:
    net = network()
    with torch.no_grad():
        net.image_head.weight *= 1e8
    with pytest.raises(InferenceError, match="Take --precision fp32"):
        torch_engine(net, None, "fp16").upscale(picture(40, 40))


class Contrasty(SuperResolver):
    """Enlarges by repetition and stretches contrast about gray; can be cut or not."""

    def __init__(self, contrast: float, *, seamless: bool) -> None:
        super().__init__()
        self.scale, self.contrast, self.seamless = 2, contrast, seamless
        self.weight = nn.Parameter(torch.zeros(1))

    def stretched(self, lr: Tensor) -> Tensor:
        large = lr.repeat_interleave(2, 2).repeat_interleave(2, 3)
        return (large - 0.5) * self.contrast + 0.5

    def forward(self, lr: Tensor) -> tuple[Tensor, None]:
        return self.stretched(lr), None

    def stages(self) -> tuple[Stage, ...]:
        return (Stage(SR, (LR,), self.stretched, scale=2),) if self.seamless else ()


@pytest.mark.parametrize("seamless", [True, False])
@pytest.mark.parametrize("orientations", [1, 8])
def test_a_result_far_from_a_picture_is_told(seamless: bool, orientations: int) -> None:
    rgb = np.zeros((40, 44, 3), np.float32)
    rgb[:20] = 1

    def notes(contrast: float) -> tuple[str, ...]:
        engine = torch_engine(Contrasty(contrast, seamless=seamless))
        return engine.upscale(rgb, 16, orientations=orientations).notes

    assert notes(1.9) == ()  # -0.45 to 1.45
    (told,) = notes(3.0)
    assert "went from -1.0 to 2.0 and was cut off" in told
    rgb[20:] = 1
    (told,) = notes(3.0)
    assert "went from 0.0 to 2.0" in told


def test_the_range_of_all_orientations_is_told_once() -> None:
    class Uneven(Contrasty):
        """Overdoes edges, those between columns more than those between rows."""

        def stretched(self, lr: Tensor) -> Tensor:
            large = super().stretched(lr)
            across, down = (large - large.roll(1, side) for side in (3, 2))
            return large + 3 * across.relu() + 2 * down.relu()

    rgb = np.zeros((16, 16, 3), np.float32)
    rgb[:8] = 1
    engine = torch_engine(Uneven(1.0, seamless=False))
    assert "went from 0.0 to 3.0" in engine.upscale(rgb).notes[0]
    (told,) = engine.upscale(rgb, orientations=8).notes
    assert "went from 0.0 to 4.0" in told


def test_features_beyond_the_limit_go_to_a_file(tmp_path: Path) -> None:
    rgb = picture(90, 120)
    for precision in ("fp32", "bf16"):
        backend = TorchBackend(network(), CPU, precision)  # type: ignore[arg-type]
        expected = Engine(backend).upscale(rgb, 32)
        memory = Memory(backend, limit=100_000)
        walk = Walk(backend, rgb, Tiling(32), memory, None)
        rows = np.concatenate([part for _, part in walk.picture()])
        assert memory.spilled > 0 and memory.peak <= 100_000
        assert np.array_equal(rows, expected.rgb)


@pytest.mark.parametrize("size", [(40, 1), (120, 2), (90, 5), (64, 8), (64, 9), (1, 60), (1, 1)])
def test_narrow_pictures_in_bf16(size: tuple[int, int]) -> None:
    # Where there is AMX, oneDNN gave anything for strides that end in a single column.
    rgb = picture(*size)
    exact = torch_engine(network(64, 1)).upscale(rgb)
    engine = torch_engine(network(64, 1), None, "bf16")
    for _ in range(3):
        junk = [torch.full((1, 64, 42, 42), 3e30).bfloat16() for _ in range(8)]
        del junk  # which the next to ask is given
        found = engine.upscale(rgb)
        assert np.abs(found.rgb - exact.rgb).max() < 0.05
        assert found.vector is not None and exact.vector is not None
        assert np.abs(found.vector - exact.vector).max() < 0.05


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (5, 2), (7, 4), (2, 2), (1, 3)])
def test_strides_that_end_in_a_single_column(kernel: int, stride: int) -> None:
    plain = nn.Conv2d(3, 5, kernel, stride, kernel // 2)
    careful = copy.deepcopy(plain)
    careful.__class__ = _Strided
    for width in range(kernel, 12):
        rows = torch.randn(2, 3, 9, width)
        assert torch.allclose(plain(rows), careful(rows), atol=1e-6)


def test_no_room_for_that_file_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.posix_fallocate", full, raising=False)
    engine = Engine(TorchBackend(network(), CPU, "fp32"), memory_limit=100_000)
    with pytest.raises(InferenceError, match="TMPDIR"):
        engine.upscale(picture(90, 120))


def most_kept(height: int, width: int, tile: int, net: SuperResolver | None = None) -> int:
    """The most bytes of features at a time."""
    backend = TorchBackend(net or network(), CPU, "fp32")
    memory = Memory(backend, 1 << 40)
    for _ in Walk(backend, picture(height, width), Tiling(tile), memory, None).picture():
        pass
    return memory.peak


def test_only_one_map_of_the_whole_picture_is_kept() -> None:
    """The rest is bands between stages, which do not grow with the picture's height."""
    width, whole_map = 64, 8 * 64 * 4
    short, tall = most_kept(512, width, 32), most_kept(2048, width, 32)
    assert tall - short <= (2048 - 512) * whole_map * 1.1
    assert tall < 2048 * whole_map * 1.3


def test_a_map_that_is_estimated_from_last_does_not_stay_for_that() -> None:
    one_turn = {"iterations": 1, "kernel_size": 5, "code_size": 2, "scale": 2, "features": 8}
    net = DANv2(groups=1, group_blocks=2, estimator_blocks=1, **one_turn).eval()  # type: ignore[arg-type]
    assert most_kept(640, 40, 64, net) == most_kept(320, 40, 64, net)


def test_rows_come_from_top_to_bottom_as_they_are_done() -> None:
    backend = TorchBackend(network(), CPU, "fp32")
    rgb = picture(200, 50)
    walk = Walk(backend, rgb, Tiling(32), Memory(backend, 1 << 40), None)
    parts = list(walk.picture())
    assert len(parts) > 4
    assert [top for top, _ in parts] == [
        sum(len(rows) for _, rows in parts[:n]) // 4 for n in range(len(parts))
    ]
    whole = torch_engine(network()).upscale(rgb, 0)
    assert np.abs(np.concatenate([rows for _, rows in parts]) - whole.rgb).max() < 1e-4


def test_tiles_are_smaller_where_they_are_enlarged() -> None:
    """At x4 half as wide and high: a pixel becomes sixteen there."""
    rgb = picture(150, 256)
    widths: dict[str, int] = {}

    class Measuring(TorchBackend):
        def run(self, step: Step, inputs: Sequence[Tensor], *, careful: bool = False) -> Tensor:
            width = max([one.shape[3] for one in inputs], default=0)
            widths[step.output] = max(widths.get(step.output, 0), width)
            return super().run(step, inputs, careful=careful)

    bands = [len(rows) for rows in Engine(Measuring(network(), CPU, "fp32")).grow(rgb, 64)]
    assert max(bands[:-1]) == 32 * 4  # what is left at the bottom goes with the last
    assert widths[SR] == 32 + 2 * UPSAMPLER_HALO
    assert widths["x1after4"] == 64 + 2 * (HEAD_HALO + 4 * BLOCK_HALO["edsr"])


class Aside(Contrasty):
    """Tells the average brightness, which none of its pixels is made of."""

    def stages(self) -> tuple[Stage, ...]:
        return (
            *super().stages()[:-1],
            Stage("level", (LR,), lambda lr: lr.mean(1, keepdim=True), "mean"),
            Stage(DEGRADATION, ("level",), lambda level: level, "vector"),
            super().stages()[-1],
        )


@pytest.mark.parametrize("tile", [0, 16])
def test_an_average_that_no_pixel_is_made_of_is_taken_too(tile: int) -> None:
    rgb = picture(50, 20)
    vector = torch_engine(Aside(1.0, seamless=True)).upscale(rgb, tile).vector
    assert vector is not None and np.allclose(vector, rgb.mean(), atol=1e-6)


class Pooling(SuperResolver):
    """Looks at the whole picture in every block, so that it cannot be cut."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.scale = 2
        self.conv = nn.Conv2d(3, 12, 3, padding=1)

    def forward(self, lr: Tensor) -> tuple[Tensor, Tensor | None]:
        level = lr.mean((2, 3), keepdim=True)
        large = nn.functional.interpolate(lr, scale_factor=2.0)
        detail = nn.functional.pixel_shuffle(self.conv(lr), 2)
        return large * (0.5 + level) + 0.05 * detail, level.flatten(1)


def test_what_cannot_be_cut_is_blended_and_says_so() -> None:
    # A smooth picture, in which a seam would be the largest step.
    rgb = np.ones((150, 150, 3), np.float32) * np.linspace(0.2, 0.8, 150, dtype=np.float32)[:, None]
    engine = torch_engine(Pooling())
    tiled, full = engine.upscale(rgb, 64), engine.upscale(rgb, 0)
    assert tiled.seams == "blended" and full.seams == "none"
    assert tiled.vector is not None and full.vector is not None
    # Overlaps weigh the picture unevenly, so only about.
    assert np.allclose(tiled.vector, full.vector, atol=0.05)
    assert np.abs(tiled.rgb - full.rgb).max() > 0.02  # tiles see other levels
    assert np.abs(np.diff(tiled.rgb - full.rgb, axis=1)).max() < 0.004
    assert np.allclose(engine.estimate(rgb, 64), tiled.vector)
    with pytest.raises(ValueError, match="not done before all are"):
        engine.grow(rgb, 64)


class Level(SuperResolver):
    """Shows the average brightness of what it is given, and tells it."""

    scale = 2

    def forward(self, lr: Tensor) -> tuple[Tensor, Tensor | None]:
        level = lr.mean((1, 2, 3), keepdim=True)
        return level.expand(-1, 3, 2 * lr.shape[2], 2 * lr.shape[3]), level.flatten(1)


@pytest.mark.parametrize("across", [True, False])
def test_blended_tiles_pass_evenly_into_one_another(across: bool) -> None:
    # Two tiles, of 104 and 96 pixels; each reaches 32 pixels beyond the border.
    shades = np.linspace(0, 1, 200, dtype=np.float32)
    rgb = np.ones((40, 200, 3), np.float32) * shades[None, :, None]
    first, second = shades[:136].mean(), shades[72:].mean()
    passage = first + (second - first) * (np.arange(128) + 0.5) / 128
    right = np.concatenate(([first] * 144, passage, [second] * 128))
    result = torch_engine(Level()).upscale(rgb if across else rgb.transpose(1, 0, 2), 104)
    large = result.rgb if across else result.rgb.transpose(1, 0, 2)
    assert result.tiles == 2 and large.shape == (80, 400, 3)
    assert np.abs(large - right[None, :, None]).max() < 1e-6
    assert result.vector is not None
    assert abs(result.vector[0] - (104 * first + 96 * second) / 200) < 1e-6


def test_a_blended_tile_out_of_half_precisions_range_is_done_again() -> None:
    rgb, net = picture(20, 20), Pooling()
    assert torch_engine(net, None, "fp16").upscale(rgb).notes == ()
    net.conv.weight.data *= 1e6
    half, single = (torch_engine(net, None, one).upscale(rgb) for one in ("fp16", "fp32"))
    assert "half precision once and was done again in fp32" in half.notes[0]
    assert np.array_equal(half.rgb, single.rgb)


def test_an_estimate_of_a_blended_tile_that_is_not_finite_is_a_sentence() -> None:
    class Speechless(Level):
        def forward(self, lr: Tensor) -> tuple[Tensor, Tensor | None]:
            return super().forward(lr)[0], torch.full((1, 1), torch.nan)

    with pytest.raises(InferenceError, match="not finite"):
        torch_engine(Speechless()).upscale(picture(20, 20))


@pytest.mark.parametrize("shape", [(90, 60), (60, 90), (100, 60), (150, 150), (17, 9)])
def test_tiles_are_counted_as_they_are_made(shape: tuple[int, int]) -> None:
    class Counting(TorchBackend):
        made = 0

        def run(self, step: Step, inputs: Sequence[Tensor], *, careful: bool = False) -> Tensor:
            self.made += step == next(one for one in self.steps if LR in one.inputs)
            return super().run(step, inputs, careful=careful)

        def run_whole(
            self, picture: Tensor, *, careful: bool = False
        ) -> tuple[Tensor, Tensor | None]:
            self.made += 1
            return super().run_whole(picture, careful=careful)

    for net in (network(blocks=1), Pooling()):
        backend = Counting(net, CPU, "fp32")
        result = Engine(backend).upscale(picture(*shape), 64)
        assert result.tiles == backend.made
        is_blended = isinstance(net, Pooling) and backend.made > 1
        assert result.seams == ("blended" if is_blended else "none")


def test_blended_tiles_shrink_too() -> None:
    class CrampedWhole(TorchBackend):
        def run_whole(
            self, picture: Tensor, *, careful: bool = False
        ) -> tuple[Tensor, Tensor | None]:
            if picture.shape[2] > 130:
                raise torch.OutOfMemoryError("out of memory")
            return super().run_whole(picture, careful=careful)

    result = Engine(CrampedWhole(Pooling(), CPU, "fp32")).upscale(picture(200, 60))
    assert result.tiles > 1 and "memory ran out" in result.notes[0]


def test_where_no_blended_tile_fits_the_error_comes_through() -> None:
    class Full(TorchBackend):
        tried = 0

        def run_whole(
            self, picture: Tensor, *, careful: bool = False
        ) -> tuple[Tensor, Tensor | None]:
            self.tried += 1
            assert self.tried < 9
            raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        Engine(Full(Pooling(), CPU, "fp32")).upscale(picture(80, 60))


@pytest.mark.parametrize("net", [network, Pooling])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_weights_that_diverged_are_a_sentence_that_names_the_model(
    net: Callable[[], SuperResolver], precision: Precision, number: float
) -> None:
    broken = net()
    with torch.no_grad():
        next(p for p in broken.parameters() if p.ndim == 4).view(-1)[0] = number
    engine = torch_engine(broken, None, precision, "mine.pth")
    for act in (engine.upscale, engine.estimate):
        with pytest.raises(InferenceError, match=r"mine\.pth gives numbers that are not finite"):
            act(picture(20, 20))


def test_a_vector_that_is_not_finite_is_a_sentence_too() -> None:
    broken = network()
    broken.degradation_tail.weight.data[0] = np.nan
    with pytest.raises(InferenceError, match="not finite"):
        torch_engine(broken).upscale(picture(20, 20))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_picture_that_is_not_finite_is_a_sentence_too(precision: Precision) -> None:
    broken = network()
    broken.image_tail[-1].bias.data[1] = np.inf
    with pytest.raises(InferenceError, match="not finite"):
        torch_engine(broken, None, precision).upscale(picture(20, 20))


def test_all_orientations_average_out_what_depends_on_them() -> None:
    rgb = picture(40, 56)
    engine = torch_engine(network())
    once, averaged = engine.upscale(rgb), engine.upscale(rgb, orientations=8)
    turned = engine.upscale(np.ascontiguousarray(np.rot90(rgb)), orientations=8)
    assert averaged.rgb.shape == once.rgb.shape == (160, 224, 3)
    # What is averaged over all orientations turns with the picture.
    assert np.abs(np.rot90(averaged.rgb) - turned.rgb).max() < 1e-5
    assert np.abs(averaged.rgb - once.rgb).max() > 1e-4


def test_progress_of_all_orientations_counts_up_to_the_end() -> None:
    seen: list[tuple[int, int]] = []
    engine = torch_engine(Contrasty(1.0, seamless=True))
    engine.upscale(picture(20, 30), 16, lambda *both: seen.append(both), orientations=8)
    done = [one for one, _ in seen]
    assert done == sorted({*done}) and len(done) == 8 * 4
    assert {total for _, total in seen} == {done[-1]}


def test_all_orientations_are_not_held_at_once() -> None:
    rgb = np.zeros((300, 400, 3), np.float32)
    engine = torch_engine(Contrasty(1.0, seamless=True))
    result = 2 * 2 * rgb.nbytes

    def peak(orientations: int) -> float:
        tracemalloc.start()
        engine.upscale(rgb, 64, orientations=orientations)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found / result

    assert peak(8) < peak(1) + 1.5


def test_the_estimate_of_all_orientations_is_that_of_the_picture_as_it_is() -> None:
    rgb = picture(40, 56)
    engine = torch_engine(network())
    averaged, once = engine.upscale(rgb, orientations=8).vector, engine.upscale(rgb).vector
    assert averaged is not None and (averaged == once).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1)])
def test_pictures_of_one_row_or_column_are_laid_in_all_orientations_too(
    shape: tuple[int, int],
) -> None:
    height, width = shape
    large = torch_engine(network()).upscale(picture(height, width), orientations=8).rgb
    assert large.shape == (4 * height, 4 * width, 3) and np.isfinite(large).all()


class Stretched(SuperResolver):
    """Depends on where in the picture a pixel is."""

    scale = 1

    def forward(self, lr: Tensor) -> tuple[Tensor, Tensor | None]:
        raise NotImplementedError

    def stages(self) -> tuple[Stage, ...]:
        return (Stage(SR, (LR, POSITION), lambda lr, place: lr * 0 + place[:, :1] * place[:, 1:]),)


def test_a_stage_is_told_where_it_works() -> None:
    result = torch_engine(Stretched()).upscale(picture(50, 70), 16)
    expected = np.linspace(0, 1, 50)[:, None] * np.linspace(0, 1, 70)[None]
    assert np.allclose(result.rgb[..., 0], expected, atol=1e-6)
    assert result.vector is None


def test_plans_go_through_text() -> None:
    steps = steps_of(network().stages())
    assert from_json(to_json(steps)) == steps
    with pytest.raises(ValueError, match="plan"):
        from_json('[{"wrong": 1}]')


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "sum"},
        {"inputs": [7]},
        {"halo": -8},
        {"stride": 0},
        {"scale": 0},
        {"halo": 12},
        {"halo": 8.0},
        {"stride": 8.0},
        {"scale": 2.0},
    ],
    ids=str,
)
def test_a_plan_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    step = {"output": "x", "inputs": ["lr"], "kind": "mean", "halo": 8, "stride": 8, "scale": 1}
    (right,) = from_json(json.dumps([step]))
    assert right == Step("x", ("lr",), "mean", 8, 8)
    with pytest.raises(ValueError):
        from_json(json.dumps([step | wrong]))


@pytest.mark.parametrize("shape", [(37, 50), (8, 8), (1, 700), (300, 256)])
@pytest.mark.parametrize("side", [8, 32, 104])
def test_windows_split_into_windows_that_cover_them(shape: tuple[int, int], side: int) -> None:
    for window in band_windows(shape, 0, shape[0], side, 8):
        covered: Any = np.zeros(shape, int)
        for part in window.split(8, 8, shape):
            covered[part.tile] += 1
            assert part.outer_top == max(part.top - 8, 0)
            assert part.outer_bottom == min(part.bottom + 8, shape[0])
            assert part.outer_left == max(part.left - 8, 0)
            assert part.outer_right == min(part.right + 8, shape[1])
        assert covered[window.tile].min() == covered.max() == 1
        assert covered.sum() == (window.bottom - window.top) * (window.right - window.left)


def test_little_memory_makes_small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    sides = []
    for free in (1 << 34, 1 << 28, 1 << 20):
        monkeypatch.setattr("sr_cli.inference.memory.free_memory", lambda _, free=free: free)
        sides.append(automatic_tile("cpu"))
    assert sides == sorted(sides, reverse=True)
    assert sides[0] == 256 and sides[-1] == 32


@pytest.mark.parametrize(
    ("known", "has_avx", "has_amx", "chosen"),
    [
        ("AVX2", True, True, "fp32"),
        ("AVX512", False, False, "fp32"),
        ("AVX512", True, False, "bf16"),
        ("AVX512", False, True, "bf16"),
    ],
)
def test_a_processor_computes_in_bf16_if_it_has_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch, known: str, has_avx: bool, has_amx: bool, chosen: str
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: known)
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: has_avx, raising=False)
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: has_amx, raising=False)
    assert automatic_precision(CPU) == chosen
    assert automatic_precision(torch.device("mps")) == "fp32"


def test_torch_does_not_take_one_precision_for_another() -> None:
    with pytest.raises(ValueError, match="not int8"):
        torch_engine(network(), None, "int8")


def test_the_torch_backend_is_a_backend() -> None:
    backend: Backend = TorchBackend(network(), CPU, "fp32")
    assert backend.scale == 4
