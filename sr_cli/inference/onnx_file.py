"""Our ONNX files: what they say of themselves, and how their graph falls apart into stages.

A file holds one graph, from ``lr`` to ``sr`` and ``degradation``, with everything a user must know
in its metadata.  What stages hand to one another keeps its name within the graph, so each stage can
be cut out of the file that serves whole pictures.  Needs no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    helper,
    numpy_helper,
)

from sr_cli.degradation.explain import explain
from sr_cli.degradation.layout import Layout, Parameter
from sr_cli.inference import plan
from sr_cli.inference.backend import Precision
from sr_cli.inference.errors import InferenceError
from sr_cli.inference.plan import DEGRADATION, SR, Step

PRODUCER = "sr-cli"
FORMAT = 1
"""Version of what is said below; a file of a later one is refused."""
LOWEST_OPSET = 18


@dataclass(frozen=True)
class Facts:
    """What a file says of itself."""

    model: str
    version: str
    """Of the sr-cli that made it."""
    scale: int
    precision: Precision
    """Of the arithmetic; inputs and outputs are float32 whatever it is."""
    weights_sha256: str
    licence: str | None
    """Of the weights, as SPDX calls it, if known."""
    layout: Layout | None
    """Of ``degradation``; None if there is none, or one that people have no words for."""
    estimate: Mapping[str, Mapping[str, float]]
    """Measured skill a number, as in the manifest."""
    steps: tuple[Step, ...]
    """How the graph may be cut; empty if it cannot."""

    def properties(self) -> dict[str, str]:
        """As metadata of a file."""
        return {
            "format": str(FORMAT),
            "model": self.model,
            "version": self.version,
            "scale": str(self.scale),
            "precision": self.precision,
            "weights_sha256": self.weights_sha256,
            "licence": self.licence or "unknown",
            "degradation": json.dumps(_described(self.layout, self.estimate)),
            "stages": plan.to_json(self.steps),
        }

    @staticmethod
    def of(properties: Mapping[str, str]) -> Facts:
        """What `properties` made.

        Raises:
            KeyError: Something is missing.
            ValueError: Something makes no sense.
        """
        if properties["format"] != str(FORMAT):
            raise ValueError(f"no such format: {properties['format']}")
        precision = properties["precision"]
        if precision not in get_args(Precision):
            raise ValueError(f"no such precision: {precision}")
        scale = int(properties["scale"])
        if scale < 1:
            raise ValueError(f"no such scale: {scale}")
        layout, estimate = _understood(json.loads(properties["degradation"]))
        licence = properties["licence"]
        return Facts(
            properties["model"],
            properties["version"],
            scale,
            precision,  # type: ignore[arg-type]  # checked above
            properties["weights_sha256"],
            None if licence == "unknown" else licence,
            layout,
            estimate,
            plan.from_json(properties["stages"]),
        )


def _described(
    layout: Layout | None, estimate: Mapping[str, Mapping[str, float]]
) -> dict[str, Any] | None:
    """The layout as people without this program need it."""
    if layout is None:
        return None
    numbers = [
        {
            "name": p.key,
            "unit": p.unit,
            "low": p.low,
            "high": p.high,
            "applies": dict(p.applies),
            "choice": p.choice,
            "alternative": p.alternative,
            "skill": dict(estimate[p.key]) if p.key in estimate else None,
        }
        for p in sorted(layout.parameters, key=lambda p: p.index)
    ]
    rule = "value in units = low + number * (high - low)"
    return {"layout": layout.name, "rule": rule, "numbers": numbers}


def _understood(
    described: Mapping[str, Any] | None,
) -> tuple[Layout | None, dict[str, Mapping[str, float]]]:
    if described is None:
        return None, {}
    parameters: list[Parameter] = []
    for index, one in enumerate(described["numbers"]):
        stage, name = one["name"].split(".")
        alternative = tuple(one["alternative"]) if one["alternative"] else None
        applies = tuple(one["applies"].items())
        place = index, name, stage, one["low"], one["high"], one["unit"]
        parameters.append(Parameter(*place, applies, one["choice"], alternative))
    estimate = {one["name"]: one["skill"] for one in described["numbers"] if one["skill"]}
    layout = Layout(described["layout"], tuple(parameters))
    for number in (0.0, 1.0):  # with every flag unset and set
        if not all(s.title and s.text for s in explain(layout, [number] * len(layout), estimate)):
            raise ValueError("numbers that there are no words for")
    return layout, estimate


def map_name(step: Step) -> str:
    """The tensor that a step makes; a mean's before it is averaged."""
    return f"{step.output}_map" if step.kind == "mean" else value_name(step.output)


def value_name(name: str) -> str:
    """The tensor that later steps read under a name.

    Vectors are ``(N, C, 1, 1)`` among stages, while the file's output ``degradation`` is flat.
    """
    return "degradation_vector" if name == DEGRADATION else name


@dataclass(frozen=True)
class OnnxFile:
    """A file of ours that has been read."""

    model: ModelProto
    facts: Facts
    name: str
    """For messages."""

    @property
    def opset(self) -> int:
        """Of the standard operators."""
        return next(o.version for o in self.model.opset_import if o.domain in ("", "ai.onnx"))

    def cut(self, step: Step) -> ModelProto:
        """One step as a model of its own.

        Two steps that differ only in what they are applied to give the same model, byte for byte:
        inputs are called ``0``, ``1``, ... in the order of the step's, the output ``output``.  An
        input that the graph does not need is left out.
        """
        return cut(self.model, [value_name(one) for one in step.inputs], map_name(step))

    def check(self) -> None:
        """Make sure that every step can be cut, and that the graph gives what the facts say.

        Raises:
            KeyError: Some tensor is missing.
            ValueError: The picture or the vector is of another size.
        """
        graph, facts = self.model.graph, self.facts
        sizes = {step.output: step.scale for step in facts.steps}
        if sizes.get(SR, facts.scale) != facts.scale:
            raise ValueError("the last step enlarges otherwise")
        numbers = {one.name: one.type.tensor_type.shape.dim[-1].dim_value for one in graph.output}
        if facts.layout is not None and numbers[DEGRADATION] not in (0, len(facts.layout)):
            raise ValueError("the layout is of another vector")
        known = {one.name for one in (*graph.input, *graph.initializer)}
        made = known | {name for node in graph.node for name in node.output}
        for step in self.facts.steps:
            for name in (map_name(step), *map(value_name, step.inputs)):
                if name not in made:
                    raise KeyError(name)
        for node in graph.node:
            if lost := {*node.input} - made - {""}:
                raise KeyError(min(lost))


def read(path: Path) -> OnnxFile:
    """A file of ours.

    Raises:
        InferenceError: There is no such file, or it is damaged, not ours, or of another version.
    """
    if not path.is_file():
        raise InferenceError(f"There is no file {path}. Check the name.")
    return understood(path.read_bytes(), str(path))


def understood(data: bytes, path: str) -> OnnxFile:
    """The content of a file of ours; see `read`, which says where it is from."""
    try:
        model = onnx.load_model_from_string(data)
    except (DecodeError, ValueError):
        raise InferenceError(
            f"{path} is not a whole ONNX file. Fetch or export it again."
        ) from None
    properties = {one.key: one.value for one in model.metadata_props}
    if model.producer_name != PRODUCER:
        raise InferenceError(
            f"{path} is not an ONNX file of this program. Make one with `sr-cli export-onnx`."
        )
    if properties.get("format", "").isdecimal() and int(properties["format"]) > FORMAT:
        raise InferenceError(f"{path} was made by a newer sr-cli. Upgrade, or export it again.")
    if any(one.data_location == TensorProto.EXTERNAL for one in model.graph.initializer):
        raise InferenceError(f"{path} keeps weights in other files, which are not read. Export it.")
    try:
        file = OnnxFile(model, Facts.of(properties), path)
        file.check()
        opset = file.opset
    # What JSON, of whatever shape, and odd graphs lead to.
    except (
        *(LookupError, ValueError, TypeError, AttributeError, ArithmeticError),
        *(RecursionError, StopIteration),
    ):
        raise damaged(path) from None
    if opset < LOWEST_OPSET:
        raise InferenceError(
            f"{path} is of opset {opset}; at least {LOWEST_OPSET} is needed. Export it again."
        )
    return file


def damaged(name: str) -> InferenceError:
    """The complaint about a file that contradicts itself."""
    return InferenceError(f"{name} is damaged. Fetch or export it again.")


def cut(model: ModelProto, inputs: list[str], output: str) -> ModelProto:
    """The part of a graph between some tensors, with names of its own.

    Args:
        model: Has a `ValueInfoProto` of each of these tensors.
        inputs: Where to stop on the way back.
        output: Where to begin.

    Raises:
        KeyError: The graph has no such tensors.
    """
    graph = model.graph
    constants = {one.name: one for one in graph.initializer}
    types = {one.name: one for one in (*graph.input, *graph.value_info, *graph.output)}
    part = GraphProto(name="stage", output=[_value(types[output], "output")])
    if output in constants:
        part.node.append(helper.make_node("Constant", [], ["output"], value=constants[output]))
    else:
        nodes, reached = way(graph, {*inputs, *constants}, output)
        names = {name: str(number) for number, name in enumerate(inputs)} | {output: "output"}
        for number, name in enumerate(name for node in nodes for name in node.output if name):
            names.setdefault(name, f"t{number}")
        used = [name for name in inputs if name in reached]
        part.node.extend(_renamed(node, names) for node in nodes)
        part.input.extend(_value(types[name], names[name]) for name in used)
        fixed = reached - {*inputs}
        part.initializer.extend(one for name, one in constants.items() if name in fixed)
    result = ModelProto(ir_version=model.ir_version, producer_name=PRODUCER, graph=part)
    result.opset_import.extend(model.opset_import)
    return result


def way(graph: GraphProto, known: set[str], output: str) -> tuple[list[NodeProto], set[str]]:
    """The nodes that make a tensor from known ones, in order, and the known ones that they need."""
    makers = {name: node for node in graph.node for name in node.output}
    wanted, seen = [output], {output}
    needed: set[int] = set()
    while wanted:
        node = makers[wanted.pop()]
        needed.add(id(node))
        fresh = {name for name in node.input if name} - seen
        seen |= fresh
        wanted += fresh - known
    return [node for node in graph.node if id(node) in needed], seen & known


def _renamed(node: NodeProto, names: Mapping[str, str]) -> NodeProto:
    result = NodeProto(op_type=node.op_type, domain=node.domain, attribute=node.attribute)
    result.input.extend(names.get(name, name) for name in node.input)
    result.output.extend(names.get(name, name) for name in node.output)
    return result


def _value(value: ValueInfoProto, name: str) -> ValueInfoProto:
    """Of a name and its element type; windows have sizes of their own."""
    kind, shape = value.type.tensor_type.elem_type, value.type.tensor_type.shape.dim
    return helper.make_tensor_value_info(name, kind, [None] * len(shape))


def widened(model: ModelProto) -> ModelProto:
    """A model of half precision with everything in single precision, inputs and outputs too."""
    result = ModelProto()
    result.CopyFrom(model)
    values, casts, tensors = _halves(result.graph)
    for value in values:
        value.type.tensor_type.elem_type = TensorProto.FLOAT
    for cast in casts:
        cast.i = TensorProto.FLOAT
    for tensor in tensors:
        wide = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))
    return result


def has_halves(model: ModelProto) -> bool:
    """Whether anything of a model is in half precision."""
    return any(_halves(model.graph))


def _halves(
    graph: GraphProto,
) -> tuple[list[ValueInfoProto], list[AttributeProto], list[TensorProto]]:
    """What says that something is in half precision: values, targets of casts, and constants."""
    half = TensorProto.FLOAT16
    values = (*graph.input, *graph.output, *graph.value_info)
    attributes = [(node, one) for node in graph.node for one in node.attribute]
    tensors = [*graph.initializer, *(one.t for _, one in attributes if one.HasField("t"))]
    return (
        [value for value in values if value.type.tensor_type.elem_type == half],
        [
            one
            for n, one in attributes
            if n.op_type == "Cast" and one.name == "to" and one.i == half
        ],
        [tensor for tensor in tensors if tensor.data_type == half],
    )
