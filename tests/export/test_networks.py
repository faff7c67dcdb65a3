"""Every family exports, and gives torch's pixels."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

from sr_cli.export import making
from sr_cli.export.unrolled import EXAMPLE
from sr_cli.export.verify import verify
from sr_cli.inference import onnx_backend
from sr_cli.inference.engine import Engine
from sr_cli.inference.errors import InferenceError
from sr_cli.inference.onnx_backend import OnnxBackend, _run_bound
from sr_cli.inference.onnx_file import OnnxFile
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


def test_iterations_share_their_sessions(file: OnnxFile) -> None:
    backend = OnnxBackend(file)
    for step in backend.steps:
        backend._session(step, careful=False)
    assert len(backend.sessions) < len(backend.steps)


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
