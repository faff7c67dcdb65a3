"""Half precision and 8 bits: close to single precision, with inputs and outputs in it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import TensorProto

from sr_cli.export import making
from sr_cli.export.verify import verify
from sr_cli.inference.engine import Engine
from sr_cli.inference.errors import InferenceError
from sr_cli.inference.onnx_backend import OnnxBackend
from sr_cli.inference.onnx_file import OnnxFile
from sr_cli.networks.dan import DAN
from sr_cli.networks.danv1 import DANv1
from tests.conftest import scene
from tests.export.conftest import source


@pytest.fixture(scope="module")
def half(file: OnnxFile) -> OnnxFile:
    return making.converted(file, "fp16")


@pytest.fixture(scope="module")
def bytes_(file: OnnxFile) -> OnnxFile:
    pictures = [scene(48, 48, seed).astype(np.float32) / 255 for seed in range(4)]
    return making.converted(file, "int8", pictures)


def outer_types(file: OnnxFile) -> set[int]:
    values = (*file.model.graph.input, *file.model.graph.output)
    return {value.type.tensor_type.elem_type for value in values}


def test_half_precision_is_close(half: OnnxFile, network: DAN) -> None:
    differences = verify(half, network)
    assert differences.picture < 5e-3
    assert differences.estimate < 1e-3
    assert outer_types(half) == {TensorProto.FLOAT}
    assert OnnxBackend(half).store_dtype == np.float16


def test_an_estimate_beyond_half_precision_is_refused() -> None:
    torch.manual_seed(0)
    network = DANv1(
        scale=2, features=32, blocks=1, estimator_blocks=1, kernel_size=5, iterations=1
    ).eval()
    network.estimator.tail.weight.data *= 3e6
    half = making.converted(making.made(source(network)), "fp16")
    with pytest.raises(InferenceError, match="differs from torch by numbers that are none"):
        verify(half, network)


def test_a_tile_beyond_half_precision_is_done_again(half: OnnxFile, network: DAN) -> None:
    rgb = scene(40, 56).astype(np.float32) / 255
    backend = OnnxBackend(half)
    right = Engine(backend).upscale(rgb, 32)
    step = next(step for step in backend.steps if step.output == "x1")
    run = backend.run

    def overflowing(one, inputs, *, careful=False):  # type: ignore[no-untyped-def]
        values = run(one, inputs, careful=careful)
        return values if careful or one != step else np.full_like(values, np.inf)

    backend.run = overflowing  # type: ignore[method-assign]
    result = Engine(backend).upscale(rgb, 32)
    assert result.notes and "done again in fp32" in result.notes[0]
    assert np.abs(result.rgb - right.rgb).max() < 5e-3


def test_eight_bits_are_close(bytes_: OnnxFile, file: OnnxFile) -> None:
    rgb = scene(72, 80, 9).astype(np.float32) / 255
    result = Engine(OnnxBackend(bytes_)).upscale(rgb, 32)
    right = Engine(OnnxBackend(file)).upscale(rgb, 32)
    assert 10 * np.log10(1 / np.mean(np.square(result.rgb - right.rgb))) > 35
    assert outer_types(bytes_) == {TensorProto.FLOAT}


def test_eight_bits_are_where_the_work_is(bytes_: OnnxFile) -> None:
    graph = bytes_.model.graph
    kinds = {one.name: one.data_type for one in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    weights = [
        makers[node.input[1]].op_type if node.input[1] in makers else "float"
        for node in graph.node
        if node.op_type == "Conv" and node.input[1].rsplit("_", 1)[0] != "eye"
    ]
    assert weights.count("DequantizeLinear") >= 2 * 2 * 5  # the Restorer's, in both iterations
    assert TensorProto.INT8 in kinds.values()
    for node in graph.node:
        if node.op_type == "Conv" and "estimator" in node.input[1]:
            assert kinds[node.input[1]] == TensorProto.FLOAT
