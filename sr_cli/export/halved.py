"""A graph in half precision, except where that would show.

Converters that go by the type of operators round the picture before its first use, and every
vector on its way from one operator to the next.  What a DAN estimates from is fainter than that:
here the way from the picture to the first convolution stays in single precision, as in training,
and so does all that becomes of the averages.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper
from onnx import numpy_helper as numbers

from sr_cli.export.graph import drop_unused, first_convolved
from sr_cli.inference.onnx_file import value_name, way
from sr_cli.inference.plan import DEGRADATION, Step

SINGLE_INPUTS = {"Resize": (1, 2)}
"""Inputs of operators that are single precision by definition."""
SINGLE_OPERATORS = ("Range", "ReduceMean", "Softmax")


def halved(model: ModelProto, steps: tuple[Step, ...]) -> ModelProto:
    """Convert a graph.

    Args:
        model: In single precision; it is left as it is.
        steps: How it may be cut.

    Returns:
        A model with inputs and outputs in single precision, and half precision between.
    """
    result = ModelProto()
    result.CopyFrom(onnx.shape_inference.infer_shapes(model))
    graph = result.graph
    types = {
        one.name: one.type.tensor_type.elem_type
        for one in (*graph.input, *graph.output, *graph.value_info)
    } | {one.name: one.data_type for one in graph.initializer}
    floats = {name for name, kind in types.items() if kind == TensorProto.FLOAT}
    careful = _careful(graph, steps)
    outputs = {one.name for one in graph.output}
    caster = _Caster(graph, floats)
    nodes: list[NodeProto] = []
    for node in graph.node:
        half = not careful & {*node.output}
        nodes += caster.fitted(node, half=half, ends=outputs)
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(caster.constants)
    drop_unused(graph, outputs | {one.name for one in model.graph.value_info})
    for one in model.graph.value_info:
        ranks = [None] * len(one.type.tensor_type.shape.dim)
        kind = TensorProto.FLOAT16 if one.name in caster.halves else one.type.tensor_type.elem_type
        graph.value_info.append(helper.make_tensor_value_info(one.name, kind, ranks))
    return result


def _careful(graph: GraphProto, steps: Iterable[Step]) -> set[str]:
    """Tensors to be made in single precision."""
    constants = {one.name for one in graph.initializer}
    exact = {node.output[0] for node in graph.node if node.op_type in SINGLE_OPERATORS}
    exact.add(DEGRADATION)
    for step in steps:
        if step.kind == "vector" and value_name(step.output) not in constants:
            inputs = {value_name(name) for name in step.inputs}
            nodes, _ = way(graph, inputs | constants, value_name(step.output))
            exact |= {name for node in nodes for name in node.output}
    return exact | first_convolved(graph)


class _Caster:
    """Rewrites nodes one by one, and remembers what has been cast already."""

    def __init__(self, graph: GraphProto, floats: set[str]) -> None:
        self.floats = floats
        self.weights = {one.name: one for one in graph.initializer if one.name in floats}
        self.halves: set[str] = set()
        """Tensors that are in half precision now."""
        self.constants: list[TensorProto] = []
        self.cast: dict[str, str] = {}

    def fitted(self, node: NodeProto, *, half: bool, ends: set[str]) -> list[NodeProto]:
        """A node that computes in half precision or not, with the casts that it needs."""
        result = NodeProto()
        result.CopyFrom(node)
        nodes: list[NodeProto] = []
        for number, name in enumerate(node.input):
            wanted = half and number not in SINGLE_INPUTS.get(node.op_type, ())
            if name in self.floats and wanted != (name in self.halves):
                result.input[number] = self._as(name, nodes, half=wanted)
        nodes.append(result)
        if not half:
            return nodes
        for attribute in result.attribute:
            _halve(node, attribute)
        for number, name in enumerate(node.output):
            if name not in self.floats:
                continue
            if name in ends:
                result.output[number] = f"{name}_half"
                nodes.append(_cast(f"{name}_half", name, TensorProto.FLOAT))
                self.cast[name] = f"{name}_half"
            else:
                self.halves.add(name)
        return nodes

    def _as(self, name: str, nodes: list[NodeProto], *, half: bool) -> str:
        """A tensor in the other precision, under another name."""
        if name in self.cast:
            return self.cast[name]
        other = self.cast[name] = f"{name}_half" if half else f"{name}_single"
        if name in self.weights:
            values = _in_half(numbers.to_array(self.weights[name]))
            self.constants.append(numbers.from_array(values, other))
        else:
            nodes.append(_cast(name, other, TensorProto.FLOAT16 if half else TensorProto.FLOAT))
        return other


def _in_half(values: NDArray[np.float32]) -> NDArray[np.float16]:
    """What is too large becomes infinite, and so fails `sr_cli.export.verify`."""
    with np.errstate(over="ignore"):
        return values.astype(np.float16)


def _cast(source: str, target: str, kind: int) -> NodeProto:
    return helper.make_node("Cast", [source], [target], to=kind)


def _halve(node: NodeProto, attribute: AttributeProto) -> None:
    """Constants within a node, and what it is told to make."""
    if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
        attribute.i = TensorProto.FLOAT16
    if attribute.HasField("t") and attribute.t.data_type == TensorProto.FLOAT:
        values = _in_half(numbers.to_array(attribute.t))
        attribute.t.CopyFrom(numbers.from_array(values, attribute.t.name))
