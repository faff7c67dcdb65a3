"""Half precision and 8 bits: close to single precision, with inputs and outputs in it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from sr_cli.export import making
from sr_cli.export.halved import halved
from sr_cli.export.verify import verify
from sr_cli.inference.engine import Engine
from sr_cli.inference.errors import InferenceError
from sr_cli.inference.onnx_backend import OnnxBackend
from sr_cli.inference.onnx_file import OnnxFile, value_name
from sr_cli.inference.runtime import ort
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


def test_half_precision_spares_the_picture_on_its_way_in_and_what_becomes_of_averages(
    half: OnnxFile,
) -> None:
    graph = half.model.graph
    kinds = {one.name: one.data_type for one in graph.initializer}
    weights = {node.input[1] for node in graph.node if node.op_type == "Conv"}
    for part, kind in (
        ("image_head", TensorProto.FLOAT),
        ("degradation_tail", TensorProto.FLOAT),
        ("estimator.body", TensorProto.FLOAT16),
        ("restorer.body", TensorProto.FLOAT16),
    ):
        assert {kinds[name] for name in weights if part in name} == {kind}, part
    kinds |= {one.name: one.type.tensor_type.elem_type for one in graph.value_info}
    for step in half.facts.steps:
        if step.kind != "map":
            assert kinds[value_name(step.output)] == TensorProto.FLOAT, step.output


def test_operators_get_the_precision_that_they_are_defined_for() -> None:
    random = np.random.default_rng(0)
    weights = {name: random.normal(0, 0.1, (3, 3, 3, 3)).astype(np.float32) for name in "ab"}
    factors = np.array([1, 1, 2, 2], np.float32)
    constants = [
        numpy_helper.from_array(value, name) for name, value in {**weights, "by": factors}.items()
    ]
    nodes = [
        helper.make_node("Conv", ["lr", "a"], ["x"], pads=[1] * 4),
        helper.make_node("Resize", ["x", "", "by"], ["y"], mode="nearest"),
        helper.make_node("Size", ["y"], ["count"]),
        helper.make_node("Cast", ["count"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["y", "number"], ["z"]),
        helper.make_node("Conv", ["z", "b"], ["sr"], pads=[1] * 4),
    ]
    lr, sr = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, side, side])
        for name, side in (("lr", 8), ("sr", 16))
    )
    graph = helper.make_graph(nodes, "net", [lr], [sr], constants)
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])
    half = halved(model, ())
    onnx.checker.check_model(half, full_check=True)
    types = {one.name: one.data_type for one in half.graph.initializer}
    assert types["by"] == TensorProto.FLOAT and TensorProto.FLOAT16 in types.values()
    given = {"lr": random.random((1, 3, 8, 8), np.float32)}
    right, found = (
        ort.InferenceSession(one.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            None, given
        )[0]
        for one in (model, half)
    )
    assert found.dtype == np.float32
    assert np.abs(found - right).max() < 1e-2 * np.abs(right).max()


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
        if node.op_type == "Conv" and "_eye_" not in node.input[1]
    ]
    assert weights.count("DequantizeLinear") == 3 * 2 * 5 + 3  # the Restorer's, and the tail's
    assert TensorProto.INT8 in kinds.values()
    spared = ("estimator", "degradation", "image_head", "image_tail.2")
    for node in graph.node:
        if node.op_type == "Conv" and any(part in node.input[1] for part in spared):
            assert kinds[node.input[1]] == TensorProto.FLOAT


def test_weights_take_seven_of_the_eight_bits_and_each_filter_all_of_them(bytes_: OnnxFile) -> None:
    constants = {one.name: numpy_helper.to_array(one) for one in bytes_.model.graph.initializer}
    weights = [value for name, value in constants.items() if name.endswith("weight_quantized")]
    assert len(weights) == 2 * 5 + 3
    for one in weights:
        assert (np.abs(one.astype(int)).max((1, 2, 3)) == 64).all()


def test_bytes_are_shuffled_and_every_chain_of_blocks_begins_with_an_identity(
    bytes_: OnnxFile,
) -> None:
    graph = bytes_.model.graph
    makers = {name: node.op_type for node in graph.node for name in node.output}
    shuffles = [node for node in graph.node if node.op_type == "DepthToSpace"]
    assert [makers[node.input[0]] for node in shuffles] == ["QuantizeLinear"] * 2
    identities = [
        node for node in graph.node if node.op_type == "Conv" and "_eye_" in node.input[1]
    ]
    assert len(identities) == 2 * 3  # of two segments


def test_nothing_is_left_in_eight_bits_that_nobody_reads(bytes_: OnnxFile) -> None:
    graph = bytes_.model.graph
    read = {name for node in graph.node for name in node.input}
    read |= {one.name for one in (*graph.output, *graph.value_info)}
    assert all(read & {*node.output} for node in graph.node)
    assert read.issuperset(one.name for one in graph.initializer)
