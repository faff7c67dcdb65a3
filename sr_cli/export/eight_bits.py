"""A graph whose bulk computes in 8 bits, for processors that multiply those much faster.

Static quantisation by ONNX Runtime's own tools, with weights by channel.  Only 3x3 convolutions
between features are quantised, and what lies between them: they are nearly all of the work, and
their inputs are much alike.  The picture on its way in and out, all that the Estimator sees and
says, and the 1x1 convolutions that mix unlike features stay in single precision.

Weights take seven of the eight bits: processors without VNNI add products up in pairs of 16 bits,
which two of 255 x 127 overflow.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from sr_cli.export.graph import drop_unused, first_convolved
from sr_cli.inference.alone import ALONE
from sr_cli.inference.onnx_file import map_name, value_name, way
from sr_cli.inference.plan import LR, SR, Step

Floats = NDArray[np.float32]


def quantised(model: ModelProto, steps: tuple[Step, ...], pictures: Iterable[Floats]) -> ModelProto:
    """Convert a graph.

    Args:
        model: In single precision; it is left as it is.
        steps: How it may be cut.
        pictures: Such as the model is for, ``(H, W, 3)`` in [0, 1]; the range of values that occur
            with them is what 8 bits stand for.

    Returns:
        A model with inputs, outputs and what steps hand on in single precision.
    """
    from sr_cli.inference import runtime  # noqa: F401  before ONNX Runtime itself

    from onnxruntime import quantization as tools  # isort: skip

    prepared = ModelProto()
    prepared.CopyFrom(model)
    for number, node in enumerate(prepared.graph.node):
        node.name = f"node{number}"
    chosen = _chosen(prepared.graph, steps)
    chosen |= _add_identities(prepared.graph, chosen, {value_name(step.output) for step in steps})

    class Reader(tools.CalibrationDataReader):  # type: ignore[misc]  # has no types
        def __init__(self) -> None:
            self.left = iter(pictures)

        def get_next(self) -> dict[str, Floats] | None:
            rgb = next(self.left, None)
            if rgb is None:
                return None
            return {LR: np.ascontiguousarray(rgb.transpose(2, 0, 1)[None])}

    with tempfile.TemporaryDirectory() as folder, ALONE, _quiet():
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(prepared, source)
        tools.quantize_static(
            source,
            target,
            Reader(),
            quant_format=tools.QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,  # of the weights
            activation_type=tools.QuantType.QUInt8,
            weight_type=tools.QuantType.QInt8,
            nodes_to_quantize=sorted(chosen),
            calibrate_method=tools.CalibrationMethod.MinMax,
        )
        result = onnx.load(target)
    _shuffle_bytes(result.graph)
    kept = (*model.graph.output, *model.graph.value_info)
    drop_unused(result.graph, {one.name for one in kept})
    for node in result.graph.node:
        node.name = ""
    del result.graph.value_info[:], result.metadata_props[:]
    result.graph.value_info.extend(model.graph.value_info)
    result.graph.name = model.graph.name
    return result


@contextmanager
def _quiet() -> Iterator[None]:
    """The tools advise on the root logger to do first what has been done."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        root.setLevel(level)


def _chosen(graph: GraphProto, steps: tuple[Step, ...]) -> set[str]:
    """Names of the nodes to quantise."""
    constants = {one.name: one for one in graph.initializer}
    spared = _spared(graph, steps)
    convolutions = {
        node.output[0]: node.name
        for node in graph.node
        if node.op_type == "Conv"
        and node.input[1] in constants
        and not spared & {*node.output}
        and tuple(constants[node.input[1]].dims)[2:] == (3, 3)
        and constants[node.input[1]].dims[0] > 3
    }
    chosen = set(convolutions.values())
    for node in graph.node:
        follows = any(name in convolutions for name in node.input)
        if follows and not spared & {*node.output} and node.op_type in ("Relu", "LeakyRelu", "Add"):
            chosen.add(node.name)
        if follows and node.op_type == "DepthToSpace":
            chosen.add(node.name)
    return chosen


def _spared(graph: GraphProto, steps: tuple[Step, ...]) -> set[str]:
    """Tensors to be made in single precision: what estimates are made of, and first convolutions.

    What only leads to an average is part of it; what averages share with maps goes with the maps.
    """
    constants = {one.name for one in graph.initializer}

    def made(step: Step) -> set[str]:
        if map_name(step) in constants:
            return set()
        inputs = {value_name(name) for name in step.inputs}
        nodes, _ = way(graph, inputs | constants, map_name(step))
        return {name for node in nodes for name in node.output}

    spared = {name for step in steps if step.kind != "map" for name in made(step)}
    return spared | {SR} | first_convolved(graph)


def _add_identities(graph: GraphProto, chosen: set[str], handed_on: set[str]) -> set[str]:
    """Begin chains of residual blocks with a convolution that changes nothing.

    ONNX Runtime computes in 8 bits with channels last, but only from a convolution on: a sum whose
    one side comes from elsewhere makes it transpose before and behind every block.  In 8 bits an
    identity is exact, and takes a ninth of a convolution's time.

    Returns:
        The names of the nodes that were added.
    """
    weights = {one.name: one for one in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    channels = {
        node.input[0]: weights[node.input[1]].dims[1]
        for node in graph.node
        if node.name in chosen and node.op_type == "Conv"
    }
    nodes: list[NodeProto] = []
    added: set[str] = set()
    begins = {
        name
        for node in graph.node
        if node.name in chosen and node.op_type == "Add"
        for name in node.input
        if name in channels and (name in handed_on or makers[name].name not in chosen)
    }
    for node in graph.node:
        if node.name in chosen:
            for number, name in enumerate(node.input):
                if name in begins:
                    node.input[number] = f"{name}_same"
        nodes.append(node)
        for name in begins & {*node.output}:
            eye = np.eye(channels[name], dtype=np.float32)[..., None, None]
            graph.initializer.append(numpy_helper.from_array(eye, f"{name}_eye"))
            inputs, outputs = [name, f"{name}_eye"], [f"{name}_same"]
            nodes.append(helper.make_node("Conv", inputs, outputs, name=f"{name}_identity"))
            added.add(f"{name}_identity")
    del graph.node[:]
    graph.node.extend(nodes)
    return added


def _shuffle_bytes(graph: GraphProto) -> None:
    """Let DepthToSpace move bytes: in float it moves four times as much, at the largest size."""
    makers = {name: node for node in graph.node for name in node.output}
    nodes: list[NodeProto] = []
    for node in graph.node:
        nodes.append(node)
        before = makers.get(node.input[0]) if node.op_type == "DepthToSpace" else None
        if before is None or before.op_type != "DequantizeLinear":
            continue
        name = node.output[0]
        node.input[0], node.output[0] = before.input[0], f"{name}_bytes"
        inputs = [f"{name}_bytes", *before.input[1:]]
        nodes.append(helper.make_node("DequantizeLinear", inputs, [name]))
    del graph.node[:]
    graph.node.extend(nodes)
