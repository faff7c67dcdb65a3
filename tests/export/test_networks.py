"""Every family exports, and gives torch's pixels."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from sr_cli.export import making
from sr_cli.export.unrolled import EXAMPLE
from sr_cli.export.verify import verify
from sr_cli.inference import onnx_backend
from sr_cli.inference.engine import Engine
from sr_cli.inference.errors import InferenceError
from sr_cli.inference.onnx_backend import OnnxBackend, _run_bound, native
from sr_cli.inference.onnx_file import OnnxFile
from sr_cli.inference.plan import Step
from sr_cli.networks.danv1 import DANv1
from sr_cli.networks.danv2 import DANv2
from sr_cli.networks.dmsr import DMSR
from sr_cli.networks.dssr import DSSR
from sr_cli.networks.edsr import EDSR
from sr_cli.networks.registry import FAMILIES
from sr_cli.networks.rrdb import RRDBNet
from sr_cli.networks.stages import SuperResolver
from tests.conftest import scene
from tests.export.conftest import source

NETWORKS: dict[str, Callable[[], SuperResolver]] = {
    "EDSR": lambda: EDSR(scale=3, features=8, blocks=5, style="published"),
    "RRDB": lambda: RRDBNet(features=8, blocks=1, growth=4),
    "RRDB at half size": lambda: RRDBNet(scale=2, features=8, blocks=1, growth=4, unshuffle=2),
    "DANv1": lambda: DANv1(
        scale=2, features=32, blocks=1, estimator_blocks=1, kernel_size=5, iterations=2
    ),
    "DANv2": lambda: DANv2(
        features=8, groups=2, group_blocks=3, estimator_blocks=1, kernel_size=5, iterations=2
    ),
    "DSSR": lambda: DSSR(scale=2, features=8, blocks=1, refine_blocks=1, iterations=1),
    "DMSR": lambda: DMSR(features=16, groups=1, blocks=1, kernel_size=3, code_size=2),
}


def test_no_family_is_forgotten() -> None:
    assert {name.split()[0] for name in NETWORKS} | {"DAN"} == {family.name for family in FAMILIES}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_family_gives_torchs_pixels(name: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    differences = verify(making.made(source(network)), network)
    assert max(differences.picture, differences.estimate, differences.tiled) < 1e-4


def test_dan_gives_torchs_pixels(file: OnnxFile, network: SuperResolver) -> None:
    differences = verify(file, network)
    assert max(differences.picture, differences.estimate, differences.tiled) < 1e-5


def test_what_differs_is_refused(file: OnnxFile, network: SuperResolver) -> None:
    torch.manual_seed(7)
    other = type(network)(features=8, blocks=5, iterations=3).eval()
    with pytest.raises(InferenceError, match="differs from torch"):
        verify(file, other)


def test_what_makes_another_picture_or_says_something_else_is_refused(
    file: OnnxFile, network: SuperResolver
) -> None:
    smaller = type(network)(scale=2, features=8, blocks=5, iterations=3)
    for other in (smaller, EDSR(features=8, blocks=1)):
        with pytest.raises(InferenceError, match="makes a picture of another shape"):
            verify(file, other.eval())
    biased = copy.deepcopy(network)
    biased.degradation_tail.bias.data += 0.01
    with pytest.raises(InferenceError, match=r"differs from torch by up to 0\.01,"):
        verify(file, biased)


def test_what_shows_in_tiles_alone_is_refused(file: OnnxFile, network: SuperResolver) -> None:
    *others, last = file.facts.steps
    steps = (*others, replace(last, halo=0))
    cut = OnnxFile(file.model, replace(file.facts, steps=steps), "cut")
    with pytest.raises(InferenceError, match="differs from torch"):
        verify(cut, network)


def test_what_gives_no_numbers_is_refused(file: OnnxFile, network: SuperResolver) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(file.model)
    mean = next(one for one in model.graph.initializer if one.name == "network.mean")
    mean.CopyFrom(numpy_helper.from_array(np.full((1, 3, 1, 1), np.nan, np.float32), mean.name))
    with pytest.raises(InferenceError, match="not finite"):
        verify(OnnxFile(model, file.facts, "broken"), network)


def test_nothing_of_the_traced_picture_stays(file: OnnxFile) -> None:
    sides = {side * factor for side in EXAMPLE[2:] for factor in (1, 2, 4)}
    for constant in file.model.graph.initializer:
        if constant.data_type == TensorProto.INT64:
            assert not sides & set(numpy_helper.to_array(constant).reshape(-1).tolist())
    lr, sr = file.model.graph.input[0], file.model.graph.output[0]
    shapes = [
        [one.dim_param or one.dim_value for one in value.type.tensor_type.shape.dim]
        for value in (lr, sr)
    ]
    assert shapes == [["batch", 3, "height", "width"], ["batch", 3, "4*height", "4*width"]]


def test_nothing_tells_where_it_was_made(file: OnnxFile) -> None:
    assert b"/" not in b"".join(node.SerializeToString() for node in file.model.graph.node)
    assert not any(node.metadata_props or node.doc_string for node in file.model.graph.node)


@pytest.mark.parametrize("tile", [0, 32, 40])
def test_tiles_are_seamless(file: OnnxFile, network: SuperResolver, tile: int) -> None:
    rgb = scene(101, 130).astype(np.float32) / 255
    with torch.inference_mode():
        sr, vector = network(torch.from_numpy(rgb).permute(2, 0, 1)[None])
    assert vector is not None
    result = Engine(OnnxBackend(file)).upscale(rgb, tile)
    assert np.abs(result.rgb - sr[0].clamp(0, 1).permute(1, 2, 0).numpy()).max() < 1e-4
    assert result.vector is not None
    assert np.abs(result.vector - vector[0].numpy()).max() < 1e-5


def test_large_features_go_to_a_file_and_come_back(file: OnnxFile) -> None:
    rgb = scene(70, 90).astype(np.float32) / 255
    backend = OnnxBackend(file)
    result = Engine(backend, memory_limit=0).upscale(rgb, 32)
    assert np.array_equal(result.rgb, Engine(backend).upscale(rgb, 32).rgb)


@pytest.mark.parametrize(
    "words",
    [
        "Failed to allocate memory for requested buffer of size 1234",
        "Exception during initialization: bad allocation",
        "std::bad_alloc",
        "CUDA failure 2: out of memory",
        "CUDA failure 2 ; GPU=0",
    ],
)
def test_onnx_runtime_says_in_its_words_that_memory_ran_out(file: OnnxFile, words: str) -> None:
    backend = OnnxBackend(file)
    assert backend.ran_out_of_memory(native.RuntimeException(words))
    assert not backend.ran_out_of_memory(ValueError(words))
    assert not backend.ran_out_of_memory(native.RuntimeException("CUDA failure 209: no kernel"))
    assert backend.ran_out_of_memory(MemoryError())


class Failing:
    """A session that raises wherever an input is larger than a limit."""

    def __init__(self, session: Any, error: Exception, pixels: int) -> None:
        self.session, self.error, self.pixels = session, error, pixels

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)

    def run(self, names: None, inputs: dict[str, NDArray[Any]]) -> Any:
        if any(one.shape[2] * one.shape[3] > self.pixels for one in inputs.values()):
            raise self.error
        return self.session.run(names, inputs)


class Cramped(OnnxBackend):
    """One whose sessions fail on large inputs."""

    error: Exception = native.RuntimeException("Failed to allocate memory for requested buffer")

    def _session(self, step: Step | None, *, careful: bool) -> Any:
        return Failing(super()._session(step, careful=careful), self.error, 128 * 128)


def test_tiles_shrink_when_onnx_runtime_runs_out_of_memory(file: OnnxFile) -> None:
    rgb = scene(150, 150).astype(np.float32) / 255
    result = Engine(Cramped(file)).upscale(rgb, 64)
    assert result.notes[0] == "memory ran out, so it went on with tiles of 32 pixels"
    assert np.abs(result.rgb - Engine(OnnxBackend(file)).upscale(rgb, 64).rgb).max() < 1e-4


def test_what_fails_for_another_reason_is_a_sentence(file: OnnxFile) -> None:
    backend = Cramped(file)
    for kind in (native.EPFail, native.Fail):
        backend.error = kind("[ONNXRuntimeError] : 1 : FAIL : No such kernel.\nAt some line")
        with pytest.raises(InferenceError, match=r"opset 18\): No such kernel\. Export it again"):
            Engine(backend).upscale(np.zeros((140, 140, 3), np.float32), 0)


def test_onnx_runtime_keeps_its_own_words_off_standard_error(
    file: OnnxFile, capfd: pytest.CaptureFixture[str]
) -> None:
    backend = OnnxBackend(file)
    step = next(step for step in backend.steps if step.output == "x1after4")
    narrow = np.zeros((1, 2, 8, 8), np.float32), np.zeros((1, 8, 1, 1), np.float32)
    with pytest.raises(InferenceError):
        backend.run(step, narrow)
    assert capfd.readouterr() == ("", "")


def test_sums_of_half_precision_are_taken_in_a_finer_one(file: OnnxFile) -> None:
    backend = OnnxBackend(file)
    cells = np.full((1, 2, 300, 400), 0.1, np.float16)
    sums = backend.sums(cells)
    assert sums.dtype == np.float64
    assert np.allclose(sums, 120_000 * np.float64(np.float16(0.1)), rtol=1e-12)
    assert backend.is_finite(cells * 1000)
    for wrong in (np.inf, np.nan):
        cells[0, 1, 7, 9] = wrong
        assert not backend.is_finite(cells)


def test_iterations_share_their_sessions(file: OnnxFile) -> None:
    backend = OnnxBackend(file)
    for step in backend.steps:
        backend._session(step, careful=False)
    assert len(backend.sessions) < len(backend.steps)


def test_a_part_of_a_file_holds_only_what_it_computes_with(file: OnnxFile) -> None:
    for step in file.facts.steps:
        part = file.cut(step).graph
        read = {name for node in part.node for name in node.input}
        assert read == {one.name for one in (*part.initializer, *part.input)} | {
            name for node in part.node for name in node.output if name != "output"
        }


def test_the_estimate_alone_leaves_the_last_restoration_out(file: OnnxFile) -> None:
    backend = OnnxBackend(file)
    rgb = scene(40, 40).astype(np.float32) / 255
    vector = Engine(backend).estimate(rgb)
    assert ("sr", False) not in backend.digests and ("x3", False) not in backend.digests
    assert np.allclose(vector, Engine(backend).upscale(rgb).vector, atol=1e-6)


def test_transfers_by_binding_change_nothing(file: OnnxFile) -> None:
    """What GPUs use, on the one device that is there everywhere."""
    session = OnnxBackend(file)._session(None, careful=False)
    inputs = {"lr": np.random.default_rng(0).random((1, 3, 20, 30), np.float32)}
    right = session.run(None, inputs)
    bound = _run_bound(session, inputs, "cpu", 0)
    assert all(np.array_equal(a, b) for a, b in zip(right, bound, strict=True))


# Two processors of two cores of two threads each.
CPUINFO = "".join(
    f"processor : {number}\nphysical id : {number % 2}\ncore id : {number // 2 % 2}\n\n"
    for number in range(8)
)


@pytest.mark.parametrize(
    ("files", "told", "expected"),
    [
        ({}, None, 8),
        ({"cpu.max": "max 100000"}, None, 8),
        ({"cpu.max": "250000 100000"}, None, 3),
        ({"cpu.max": "50000 100000"}, None, 1),
        ({"cpuinfo": CPUINFO}, None, 4),
        ({"cpuinfo": CPUINFO, "cpu.max": "250000 100000"}, None, 3),
        ({"cpuinfo": "processor : 0\n"}, "", 8),
        ({"cpuinfo": CPUINFO}, "6", 6),
        ({"cpuinfo": CPUINFO}, "0", 4),
    ],
)
def test_threads_are_as_many_as_is_said_or_as_there_are_cores_for(
    files: dict[str, str],
    told: str | None,
    expected: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(onnx_backend, "Path", lambda name: tmp_path / Path(name).name)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {*range(8)}, raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if told is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert onnx_backend.threads() == expected


@pytest.mark.parametrize("cores", [None, 6])
def test_where_nobody_tells_whose_cores_they_are_all_are_taken(
    cores: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_backend, "Path", lambda name: tmp_path / Path(name).name)
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    assert onnx_backend.threads() == (cores or 1)
