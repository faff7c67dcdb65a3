"""What ONNX Runtime is told about a GPU, whose sessions a processor stands in for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper

from sr_cli.export import making
from sr_cli.inference import onnx_backend
from sr_cli.inference.engine import Engine
from sr_cli.inference.errors import InferenceError
from sr_cli.inference.onnx_backend import OnnxBackend, native
from sr_cli.inference.onnx_file import OnnxFile
from sr_cli.inference.runtime import ort
from tests.conftest import scene

RIGHT_SESSION = ort.InferenceSession
TENSORRT = "TensorrtExecutionProvider"
WITHOUT = [
    ("CUDAExecutionProvider", {"device_id": 1, "use_tf32": "0"}),
    ("CPUExecutionProvider", {}),
]


class Session:
    """Stands in for ONNX Runtime's, and keeps what it was told."""

    made: list[Session]
    """All there were, in order."""
    refused: tuple[str, ...]
    """Providers that fail when a session is made."""
    broken: bool
    """Whether TensorRT fails when a session runs."""
    places: list[tuple[str, int]]
    """Where they ran."""
    offered: tuple[str, ...]
    """Providers that the machine turns out to have; all if there are none."""

    def __init__(self, data: bytes, options: Any, providers: list[Any], **told: Any) -> None:
        self.data, self.providers, self.told = data, dict(providers), told
        self.has_folder = TENSORRT in self.providers and self.folder.is_dir()
        self.made.append(self)
        if self.providers.keys() & {*self.refused}:
            raise RuntimeError(f"{min(self.refused)} is not what it should be")
        self.inner = RIGHT_SESSION(data, options, ["CPUExecutionProvider"])

    @property
    def folder(self) -> Path:
        return Path(self.providers[TENSORRT]["trt_engine_cache_path"])

    @property
    def may_halve(self) -> bool:
        return bool(self.providers[TENSORRT]["trt_fp16_enable"])

    def get_providers(self) -> list[str]:
        return [one for one in self.providers if one in self.offered or not self.offered]

    def get_inputs(self) -> Any:
        return self.inner.get_inputs()

    def run(self, inputs: Mapping[str, NDArray[Any]], *place: Any) -> Any:
        self.places.append(place)
        if self.broken and TENSORRT in self.providers:
            raise native.EPFail("TensorRT EP failed to create engine from network")
        return self.inner.run(None, inputs)


@pytest.fixture(autouse=True)
def sessions(monkeypatch: pytest.MonkeyPatch) -> type[Session]:
    """A machine with two GPUs and TensorRT."""
    monkeypatch.setattr(onnx_backend.ort, "InferenceSession", Session)
    monkeypatch.setattr(onnx_backend, "_has_tensorrt", lambda: True)
    monkeypatch.setattr(onnx_backend, "_run_bound", lambda one, *given: one.run(*given))
    kept = {"made": [], "refused": (), "broken": False, "places": [], "offered": ()}
    for name, value in kept.items():
        monkeypatch.setattr(Session, name, value, raising=False)
    return Session


@pytest.fixture(scope="module")
def half(file: OnnxFile) -> OnnxFile:
    return making.converted(file, "fp16")


def with_other_weights(file: OnnxFile) -> OnnxFile:
    model = ModelProto()
    model.CopyFrom(file.model)
    for tensor in model.graph.initializer:
        if tensor.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16):
            smaller = numpy_helper.to_array(tensor) * np.float16(0.5)
            tensor.CopyFrom(numpy_helper.from_array(smaller, tensor.name))
    return OnnxFile(model, file.facts, "other.onnx")


def run_all(file: OnnxFile, engines: Path) -> NDArray[np.float32]:
    rgb = scene(40, 56).astype(np.float32) / 255
    backend = OnnxBackend(file, "cuda:1", engines)
    for step in backend.steps:
        backend._session(step, careful=True)
    return Engine(backend).upscale(rgb, 32).rgb


def test_no_two_models_meet_in_a_folder_of_engines(
    half: OnnxFile, tmp_path: Path, sessions: type[Session]
) -> None:
    engines = tmp_path / "not" / "there" / "yet"
    for model in (half, with_other_weights(half)):
        run_all(model, engines)
    made = sessions.made
    # Nor half precision with single precision; what has no weights may be the same.
    folders, graphs = {one.folder for one in made}, {one.data for one in made}
    assert len(folders) == len(graphs) == len({(one.folder, one.data) for one in made})
    assert len(graphs) >= len(made) - 2
    assert all(one.has_folder and one.folder.is_relative_to(engines) for one in made)
    before = {one.folder for one in made}
    run_all(half, engines)
    assert {one.folder for one in made} == before


def test_tensorrt_may_halve_only_what_is_in_half_precision(
    half: OnnxFile, tmp_path: Path, sessions: type[Session]
) -> None:
    run_all(half, tmp_path)
    for one in sessions.made:
        graph = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(one.data)).graph
        found = (*graph.input, *graph.output, *graph.value_info)
        kinds = {value.type.tensor_type.elem_type for value in found}
        assert one.may_halve == (TensorProto.FLOAT16 in kinds)
    assert {one.may_halve for one in sessions.made} == {True, False}


def test_what_tensorrt_compiles_is_kept_for_the_device_that_was_named(
    half: OnnxFile, tmp_path: Path, sessions: type[Session]
) -> None:
    run_all(half, tmp_path)
    assert {*sessions.places} == {("cuda", 1)}
    for one in sessions.made:
        told = one.providers[TENSORRT]
        assert told["device_id"] == 1
        assert told["trt_engine_cache_enable"] and told["trt_timing_cache_enable"]
        assert told["trt_timing_cache_path"] == str(tmp_path)


def test_tensorrt_is_for_gpus_and_for_who_has_it(
    half: OnnxFile, tmp_path: Path, sessions: type[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    OnnxBackend(half, "cpu", tmp_path)
    monkeypatch.setattr(onnx_backend, "_has_tensorrt", lambda: False)
    OnnxBackend(half, "cuda:1", tmp_path)
    processor, gpu = sessions.made
    assert list(processor.providers.items()) == WITHOUT[1:]
    assert list(gpu.providers.items()) == WITHOUT
    assert list(tmp_path.iterdir()) == []


def test_where_tensorrt_fails_cuda_goes_on_as_it_was_told(
    half: OnnxFile,
    tmp_path: Path,
    sessions: type[Session],
    capsys: pytest.CaptureFixture[str],
) -> None:
    right = run_all(half, tmp_path)
    sessions.made.clear()
    sessions.refused = (TENSORRT,)
    assert np.array_equal(run_all(half, tmp_path), right)
    first, *others = sessions.made
    assert TENSORRT in first.providers
    assert len(others) > 3 and all(list(one.providers.items()) == WITHOUT for one in others)
    # ONNX Runtime's own way would speak where `--json` goes.
    assert all(one.told == {"enable_fallback": 0} for one in sessions.made)
    assert capsys.readouterr().out == ""


def test_tensorrt_may_fail_as_late_as_at_a_picture(
    half: OnnxFile, tmp_path: Path, sessions: type[Session]
) -> None:
    right = run_all(half, tmp_path)
    sessions.broken = True
    assert np.array_equal(run_all(half, tmp_path), right)
    assert list(sessions.made[-1].providers.items()) == WITHOUT


def test_who_goes_on_without_tensorrt_stays_in_single_precision(
    half: OnnxFile, tmp_path: Path, sessions: type[Session]
) -> None:
    backend = OnnxBackend(half, "cuda:1", tmp_path)
    sessions.broken = True
    step = next(step for step in backend.steps if step.output == "x1after4")
    picture, vector = np.zeros((1, 3, 8, 8), np.float32), np.zeros((1, 8, 1, 1), np.float32)
    assert backend.run(step, [picture, vector], careful=True).dtype == np.float32


def test_where_engines_cannot_be_kept_tensorrt_is_left_out(
    half: OnnxFile, tmp_path: Path, sessions: type[Session]
) -> None:
    (tmp_path / "file").write_text("in the way")
    run_all(half, tmp_path / "file")
    assert all(list(one.providers.items()) == WITHOUT for one in sessions.made)


@pytest.mark.parametrize(("devices", "has_provider"), [(2, True), (1, True), (0, True), (2, False)])
def test_devices_are_those_that_the_driver_and_onnx_runtime_have(
    monkeypatch: pytest.MonkeyPatch, devices: int, has_provider: bool
) -> None:
    monkeypatch.setattr(onnx_backend, "_cuda_devices", lambda: devices)
    provider = ["CUDAExecutionProvider"] * has_provider
    monkeypatch.setattr(ort, "get_available_providers", lambda: [*provider, "CPUExecutionProvider"])
    usable = devices if has_provider else 0
    assert onnx_backend.place("auto") == ("cuda:0" if usable else "cpu")
    assert onnx_backend.place("cpu") == "cpu"
    for number, names in enumerate((("cuda", "cuda:0"), ("cuda:1",), ("cuda:2",))):
        for name in names:
            if number < usable:
                assert onnx_backend.place(name) == f"cuda:{number}"
            else:
                with pytest.raises(InferenceError, match=f"'{name}' is not usable here"):
                    onnx_backend.place(name)
    with pytest.raises(InferenceError, match="not on 'mps'"):
        onnx_backend.place("mps")


def test_libraries_that_are_missing_are_not_told_on_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ort, "preload_dlls", lambda: print("Failed to load"), raising=False)
    onnx_backend._preload.__wrapped__()
    assert capsys.readouterr().out == ""


def test_a_gpu_that_refuses_is_a_sentence(
    half: OnnxFile, tmp_path: Path, sessions: type[Session]
) -> None:
    sessions.refused = (TENSORRT, "CUDAExecutionProvider")
    with pytest.raises(InferenceError, match=r"cannot use cuda:1: .*Take --device cpu"):
        OnnxBackend(half, "cuda:1", tmp_path)


def test_a_gpu_without_its_libraries_is_not_taken_for_one(
    half: OnnxFile, sessions: type[Session]
) -> None:
    sessions.offered = ("CPUExecutionProvider",)
    with pytest.raises(InferenceError, match=r"cannot use cuda:1: .* libraries are missing"):
        OnnxBackend(half, "cuda:1")


@pytest.mark.parametrize(
    ("answers", "found"), [((0, 0), 3), ((100, 0), 0), ((0, 100), 0), (None, 0)]
)
def test_gpus_are_counted_by_the_driver_if_there_is_one(
    monkeypatch: pytest.MonkeyPatch, answers: tuple[int, int] | None, found: int
) -> None:
    class Driver:
        def __init__(self, _: str) -> None:
            if answers is None:
                raise OSError("libcuda.so.1: cannot open shared object file")

        def cuInit(self, _: int) -> int:  # noqa: N802
            return answers[0] if answers else 1

        def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
            count._obj.value = 3
            return answers[1] if answers else 1

    monkeypatch.setattr("ctypes.CDLL", Driver)
    assert onnx_backend._cuda_devices.__wrapped__() == found
