"""Networks run by ONNX Runtime, on CPUs and CUDA.  Needs no torch."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib.util
import io
import os
import re
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sr_cli.inference.alone import ALONE
from sr_cli.inference.errors import InferenceError, out_of_memory
from sr_cli.inference.onnx_file import OnnxFile, damaged, has_halves, widened
from sr_cli.inference.plan import Step
from sr_cli.inference.runtime import ort

native = ort.capi.onnxruntime_pybind11_state

SILENT = 4
"""Severity from which ONNX Runtime may write to standard error: what else it has to say comes as
an exception as well, or helps nobody."""
TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
Provider = tuple[str, dict[str, Any]]
"""What can run a session, and its options."""
TENSORRT = "TensorrtExecutionProvider"
ERRORS = (
    native.EPFail,
    native.Fail,
    native.InvalidArgument,
    native.InvalidGraph,
    native.InvalidProtobuf,
    native.NotImplemented,
    native.RuntimeException,
)
"""What ONNX Runtime raises for models that it cannot run."""


class OnnxBackend:
    """See `sr_cli.inference.backend.Backend`.  Arrays are NumPy's, whatever the device."""

    name = "onnx"

    def __init__(self, file: OnnxFile, device: str = "cpu", engines: Path | None = None) -> None:
        """Take a file; nothing is compiled before it is needed.

        Args:
            file: The network.
            device: ``cpu`` or ``cuda:N``.
            engines: Folder in which TensorRT, where there is one, keeps what it has compiled, in
                a folder of its own a session; None to do without TensorRT.

        Raises:
            InferenceError: The device is not to be had, or cannot run the file.
        """
        self.file = file
        self.model = file.facts.model
        self.device = device
        self.precision = file.facts.precision
        self.scale = file.facts.scale
        self.steps = file.facts.steps
        self.engines = engines if device != "cpu" and _has_tensorrt() else None
        """None, too, once TensorRT has failed."""
        self.sessions: dict[str, ort.InferenceSession] = {}
        """By a digest of the model: steps that repeat an iteration share one."""
        self.digests: dict[tuple[str, bool], str] = {}
        # Fails now rather than when the first picture has been read.
        self._session(self.steps[0] if self.steps else None, careful=False)

    def load(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])

    def run(
        self, step: Step, inputs: Sequence[NDArray[Any]], *, careful: bool = False
    ) -> NDArray[Any]:
        named = {str(number): one for number, one in enumerate(inputs)}
        return self._run(step, named, careful=careful)[0]

    def run_whole(
        self, picture: NDArray[Any], *, careful: bool = False
    ) -> tuple[NDArray[Any], NDArray[Any] | None]:
        values = self._run(None, {"lr": picture}, careful=careful)
        return values[0], values[1] if len(values) > 1 else None

    def _run(
        self, step: Step | None, inputs: Mapping[str, NDArray[Any]], *, careful: bool
    ) -> list[NDArray[Any]]:
        session = self._session(step, careful=careful)
        try:
            if self.device != "cpu":
                kind, index = self.device.partition(":")[0], _index(self.device)
                return _run_bound(session, _fitting(session, inputs), kind, index)
            values: list[NDArray[Any]] = session.run(None, _fitting(session, inputs))
            return values
        except ERRORS as error:
            if self.ran_out_of_memory(error):
                raise
            # It compiles for sizes as they come, and can fail as late as that.
            if isinstance(error, native.EPFail) and TENSORRT in session.get_providers():
                self._give_up_tensorrt()
                return self._run(step, inputs, careful=careful)
            raise self._cannot_run(error) from None

    def _give_up_tensorrt(self) -> None:
        """Go on without it: what one session fails for, the next will most likely fail for too."""
        self.engines = None
        self.sessions.clear()
        self.digests.clear()

    def _session(self, step: Step | None, *, careful: bool) -> ort.InferenceSession:
        """What runs a step, or the whole network."""
        key = (step.output if step else "", careful)
        # In one step: another thread may just have given up TensorRT.
        if session := self.sessions.get(self.digests.get(key, "")):
            return session
        try:
            model = self.file.cut(step) if step else self.file.model
            if careful and self.precision == "fp16":
                model = widened(model)
            data = model.SerializeToString(deterministic=True)
        except (LookupError, ValueError):  # names that lead nowhere, or are no text
            raise damaged(self.file.name) from None
        digest = hashlib.sha256(data).hexdigest()
        session = self.sessions.get(digest)
        if session is None:
            providers = _providers(self.device)
            engines = self._engine_folder(digest)
            if engines is not None:
                providers.insert(0, _tensorrt(self.device, engines, half=has_halves(model)))
            session = self.sessions[digest] = self._compiled(data, providers)
        self.digests[key] = digest
        return session

    def _engine_folder(self, digest: str) -> Path | None:
        """Where TensorRT keeps what becomes of a model; None to do without.

        ONNX Runtime names engines by the graph and not by its weights: in one folder for all, a
        model would be given what was compiled of another one.
        """
        if self.engines is None:
            return None
        folder = self.engines / digest
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:  # compiling takes minutes, so it must happen once or not at all
            return None
        return folder

    def _compiled(self, data: bytes, providers: list[Provider]) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.log_severity_level = SILENT
        options.intra_op_num_threads = threads()
        # Sessions take turns: threads of one that wait for more must not keep the next from the
        # cores.  (One pool for all would not let others in this process make sessions of theirs.)
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Windows differ in size, so what one has needed says nothing about the next.
        options.enable_mem_pattern = False
        if _share_memory():
            options.add_session_config_entry("session.use_env_allocators", "1")
        try:
            # Else it tries again by itself, says so on standard output, and forgets which device
            # it was told, and how to compute there.
            session = ort.InferenceSession(data, options, providers, enable_fallback=0)
        except (*ERRORS, ValueError, RuntimeError) as error:
            if TENSORRT in map(itemgetter(0), providers):
                self._give_up_tensorrt()
                return self._compiled(data, providers[1:])
            if isinstance(error, ERRORS):
                raise self._cannot_run(error) from None
            if isinstance(error, ValueError):  # texts that are none
                raise damaged(self.file.name) from None
            if self.device == "cpu":
                raise
            raise InferenceError(
                f"ONNX Runtime cannot use {self.device}: {_reason(error)} Take --device cpu."
            ) from None
        if self.device != "cpu" and "CUDAExecutionProvider" not in session.get_providers():
            raise InferenceError(
                f"ONNX Runtime cannot use {self.device}: its CUDA or cuDNN libraries are missing. "
                "Install them, or take --device cpu."
            )
        return session

    def _cannot_run(self, error: Exception) -> InferenceError:
        return InferenceError(
            f"ONNX Runtime {ort.__version__} cannot run {self.file.name} (opset "
            f"{self.file.opset}): {_reason(error)} Export it again with --opset 18, or upgrade "
            "onnxruntime."
        )

    def is_finite(self, array: NDArray[Any]) -> bool:
        with np.errstate(all="ignore"):  # what is asked is no news
            return bool(np.isfinite(array.sum(dtype=np.float32)))

    @property
    def store_dtype(self) -> np.dtype[Any]:
        return np.dtype(np.float16 if self.precision == "fp16" else np.float32)

    @property
    def on_host(self) -> bool:
        return True

    def empty(self, channels: int, rows: int, columns: int) -> NDArray[Any]:
        return np.empty((1, channels, rows, columns), self.store_dtype)

    def wrap(self, memory: NDArray[Any], channels: int, rows: int, columns: int) -> NDArray[Any]:
        return memory.reshape(1, channels, rows, columns)

    def join(self, parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate(parts, 2)

    def sums(self, cells: NDArray[Any]) -> NDArray[np.float64]:
        with np.errstate(all="ignore"):  # who adds them up looks at what comes out
            total: NDArray[np.float64] = cells.sum((0, 2, 3), dtype=np.float64)
        return total

    def vector(self, numbers: NDArray[np.float64]) -> NDArray[np.float32]:
        return numbers.astype(np.float32).reshape(1, -1, 1, 1)

    def numpy(self, array: NDArray[Any]) -> NDArray[np.float32]:
        return array.astype(np.float32, copy=False)

    def ran_out_of_memory(self, error: Exception) -> bool:
        return isinstance(error, (MemoryError, *ERRORS)) and out_of_memory(error)


def _fitting(
    session: ort.InferenceSession, inputs: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """The inputs that a session wants, in its types."""
    return {
        one.name: np.ascontiguousarray(inputs[one.name], TYPES[one.type])
        for one in session.get_inputs()
    }


def _run_bound(
    session: ort.InferenceSession, inputs: Mapping[str, NDArray[Any]], kind: str, index: int
) -> list[NDArray[Any]]:
    """Straight to a device and back, without the copies that `run` makes on the way."""
    binding = session.io_binding()
    for name, value in inputs.items():
        there = ort.OrtValue.ortvalue_from_numpy(value, kind, index)
        binding.bind_ortvalue_input(name, there)
    for one in session.get_outputs():
        binding.bind_output(one.name, kind, index)
    session.run_with_iobinding(binding)
    values: list[NDArray[Any]] = binding.copy_outputs_to_cpu()
    return values


def _reason(error: Exception) -> str:
    """Of an error of ONNX Runtime, without its codes and places in its source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = (lines[0] if lines else type(error).__name__).rsplit(" : ", 1)[-1]
    return f"{text[:200].rstrip('.')}."


def place(name: str) -> str:
    """The device of a name, ``cpu`` or ``cuda:N``; ``auto`` takes the fastest there is.

    Raises:
        InferenceError: There is no such device here.
    """
    if name == "auto":
        return "cuda:0" if _cuda_devices() and _has_cuda_provider() else "cpu"
    if name == "cpu":
        return name
    found = re.fullmatch(r"cuda(?::(\d+))?", name)
    if not found:
        raise InferenceError(f"ONNX Runtime runs on cpu, cuda and cuda:N here, not on '{name}'.")
    if int(found[1] or 0) >= _cuda_devices() or not _has_cuda_provider():
        raise InferenceError(
            f"The device '{name}' is not usable here. Try --device auto or --device cpu."
        )
    return f"cuda:{found[1] or 0}"


def _has_cuda_provider() -> bool:
    return "CUDAExecutionProvider" in ort.get_available_providers()


@cache
def _cuda_devices() -> int:
    """How many there are.  Asks the driver, since ONNX Runtime would complain if it is missing."""
    count = ctypes.c_int(0)
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
            return 0
    except (OSError, AttributeError):
        return 0
    return count.value


def _providers(device: str) -> list[Provider]:
    """What runs a session on a device, the first choice first; without TensorRT."""
    cpu: Provider = ("CPUExecutionProvider", {})
    if device == "cpu":
        return [cpu]
    _preload()
    # TF32 has the mantissa of fp16: what is single precision here has a reason to be.
    return [("CUDAExecutionProvider", {"device_id": _index(device), "use_tf32": "0"}), cpu]


def _tensorrt(device: str, engines: Path, *, half: bool) -> Provider:
    """TensorRT for one session.

    Args:
        device: ``cuda:N``.
        engines: The session's own folder.
        half: Whether it may compute in half precision; it then does so as it likes.
    """
    options = {
        "device_id": _index(device),
        "trt_fp16_enable": half,
        # Compiling takes minutes, so it must happen once.
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(engines),
        # How fast which kernels are is the same for all.
        "trt_timing_cache_enable": True,
        "trt_timing_cache_path": str(engines.parent),
    }
    return TENSORRT, options


def _index(device: str) -> int:
    return int(device.partition(":")[2])


def _has_tensorrt() -> bool:
    return importlib.util.find_spec("tensorrt") is not None


@cache
def _preload() -> None:
    """CUDA's libraries from packages that torch or `onnxruntime-gpu[cuda,cudnn]` bring along."""
    if not hasattr(ort, "preload_dlls"):
        return
    # It says on standard output what it did not find, which may not be needed.
    with ALONE, contextlib.redirect_stdout(io.StringIO()):
        ort.preload_dlls()


@cache
def _share_memory() -> bool:
    """One pool of memory for all sessions, if that can be.

    Each would else hold on to what its largest tile took.
    """
    ort.set_default_logger_severity(SILENT)
    try:
        native.create_and_register_allocator(
            native.OrtMemoryInfo(
                "Cpu", native.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, native.OrtMemType.DEFAULT
            ),
            # As much as is asked for, not the next power of two.
            native.OrtArenaCfg({"arena_extend_strategy": 1}),
        )
    except ERRORS:  # somebody else in this process has already done so
        return False
    return True


def threads() -> int:
    """How many to compute with: what the user says, else the cores that this process may use."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdecimal() and int(told):
        return int(told)
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    return max(1, min(allowed, _quota() or allowed, _physical_cores() or allowed))


def _quota() -> int | None:
    """Cores that a container may use, rounded up."""
    try:
        told = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return -(-int(told[0]) // int(told[1]))
    except (OSError, ValueError, IndexError):  # no such group, or "max"
        return None


def _physical_cores() -> int | None:
    """Cores without their second threads, which only get into each other's way here."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    packages = re.findall(r"^physical id\s*:\s*(\d+)", text, re.MULTILINE)
    cores = re.findall(r"^core id\s*:\s*(\d+)", text, re.MULTILINE)
    return len(set(zip(packages, cores, strict=False))) or None
