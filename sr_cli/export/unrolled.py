"""A network as one ONNX graph, unrolled, in which the stages can be found again."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

from sr_cli.export.graph import drop_unused
from sr_cli.inference.alone import ALONE
from sr_cli.inference.errors import InferenceError
from sr_cli.inference.onnx_file import PRODUCER, map_name, value_name, way
from sr_cli.inference.plan import DEGRADATION, LR, POSITION, SR, Step, steps_of
from sr_cli.networks.stages import SuperResolver

EXAMPLE = (2, 3, 29, 37)
"""Shape of the picture that a network is traced with; nothing of it may stay in the graph."""
NOISY_LOGGERS = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")


class _Whole(nn.Module):
    """A network with everything that its stages make, in the order of `_names`."""

    def __init__(self, network: SuperResolver) -> None:
        super().__init__()
        self.network = network
        self.stages = network.stages()

    def forward(self, lr: Tensor) -> tuple[Tensor, ...]:
        if not self.stages:
            sr, degradation = self.network(lr)
            return (sr,) if degradation is None else (sr, degradation)
        values = {LR: lr, POSITION: _positions(lr)}
        made: dict[str, Tensor] = {}
        if _knows_positions(self.network):
            made[POSITION] = values[POSITION]
        for stage in self.stages:
            value = stage.run(*(values[name] for name in stage.inputs))
            made[stage.output] = value
            if stage.kind == "mean":
                made[f"{stage.output} map"] = value
                value = made[stage.output] = value.mean((2, 3), keepdim=True)
            values[stage.output] = value
        if DEGRADATION in made:
            return made.pop(SR), made[DEGRADATION].flatten(1), *made.values()
        return made.pop(SR), *made.values()


def _names(network: SuperResolver) -> list[str]:
    """Of the tensors that `_Whole` returns."""
    names = [POSITION] if _knows_positions(network) else []
    for step in steps_of(network.stages()):
        if step.output != SR:
            names.append(value_name(step.output))
        if step.kind == "mean":
            names.append(map_name(step))
    return names


def _knows_positions(network: SuperResolver) -> bool:
    return any(POSITION in stage.inputs for stage in network.stages())


def _positions(lr: Tensor) -> Tensor:
    """`sr_cli.networks.stages.positions` for sides that are not known yet."""
    count, _, height, width = lr.shape
    rows, columns = (
        torch.arange(side, dtype=lr.dtype) / torch.sym_max(side - 1, 1) for side in (height, width)
    )
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
    return grid.expand(count, -1, -1, -1)


def unrolled(network: SuperResolver, opset: int) -> tuple[ModelProto, tuple[Step, ...]]:
    """Export a network.

    Args:
        network: In evaluation mode on the CPU, float32.
        opset: Version of the standard operators.

    Returns:
        A model from ``lr`` ``(N, 3, H, W)`` to ``sr`` and, if the network estimates something,
        ``degradation``, all of N, H and W free; and the steps that it can be cut into, with the
        names that `sr_cli.inference.onnx_file` looks for.

    Raises:
        InferenceError: The exporter cannot express the network; the message has its reason.
    """
    whole = _Whole(network).eval()
    example = torch.rand(EXAMPLE, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        vector = network(example)[1]
    shapes: dict[str, list[int | str]] = {
        SR: ["batch", 3, f"{network.scale}*height", f"{network.scale}*width"]
    }
    if vector is not None:
        shapes[DEGRADATION] = ["batch", vector.shape[1]]
    try:
        with ALONE, _quiet():
            graph = _exported(whole, example, [*shapes, *_names(network)], opset)
    # The exporter raises almost anything, and says at length why.
    except Exception as error:
        raise InferenceError(f"torch cannot export this network: {_reason(error)}") from error
    return _tidied(graph, {LR: ["batch", 3, "height", "width"]}, shapes, steps_of(whole.stages))


def _exported(whole: nn.Module, example: Tensor, outputs: list[str], opset: int) -> ModelProto:
    free = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    # What torch would conclude from tracing about admissible sizes is checked by `verify`, which
    # knows better: at a side of 1, say.
    traced = torch.export.export(
        whole,
        (example,),
        dynamic_shapes=(free,),
        strict=False,
        prefer_deferred_runtime_asserts_over_guards=True,
    )
    program = torch.onnx.export(
        traced,
        dynamo=True,
        input_names=[LR],
        output_names=outputs,
        opset_version=opset,
        external_data=False,
        verbose=False,
    )
    assert program is not None  # only without dynamo
    return program.model_proto


def _reason(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{(lines[0] if lines else type(error).__name__)[:300].rstrip('.')}."


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporter's notes off standard error; what matters is raised."""
    loggers = [logging.getLogger(name) for name in NOISY_LOGGERS]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), open(os.devnull, "w") as nowhere:  # noqa: PTH123
            warnings.simplefilter("ignore")
            with contextlib.redirect_stderr(nowhere), contextlib.redirect_stdout(nowhere):
                yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)


Shapes = Mapping[str, Sequence[int | str]]


def _tidied(
    model: ModelProto, inputs: Shapes, outputs: Shapes, steps: tuple[Step, ...]
) -> tuple[ModelProto, tuple[Step, ...]]:
    """An exporter's model with constants folded, without notes, and with these outputs alone.

    Returns:
        The model, in which the tensors between steps have names and types; and the steps without
        what became constant.
    """
    graph = model.graph
    kinds = {one.name: one.type.tensor_type for one in (*graph.input, *graph.output)}
    _fold(graph)
    steps = _pruned(graph, steps)
    kept = {value_name(step.output) for step in steps} | {map_name(step) for step in steps}
    kept |= {POSITION} & kinds.keys()
    drop_unused(graph, kept | outputs.keys())
    for node in graph.node:
        # Where in which source file it came from.
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for constant in graph.initializer:
        constant.ClearField("metadata_props")
        constant.ClearField("doc_string")
    del graph.input[:], graph.output[:], graph.value_info[:], graph.metadata_props[:]
    for values, shapes in ((graph.input, inputs), (graph.output, outputs)):
        values.extend(
            helper.make_tensor_value_info(name, kinds[name].elem_type, shape)
            for name, shape in shapes.items()
        )
    graph.value_info.extend(
        helper.make_tensor_value_info(
            name, kinds[name].elem_type, [None] * len(kinds[name].shape.dim)
        )
        for name in sorted(kept - outputs.keys())
    )
    graph.name = PRODUCER
    del model.metadata_props[:]
    return model, steps


def _pruned(graph: GraphProto, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Steps with the inputs that the graph really reads, and without those that nobody reads."""
    constants = {one.name for one in graph.initializer}
    result: list[Step] = []
    read = {SR, DEGRADATION}
    for step in reversed(steps):
        if step.output not in read:
            continue
        names = {value_name(name): name for name in step.inputs}
        reached: set[str] = set()
        if map_name(step) not in constants:
            _, reached = way(graph, {*names, *constants}, map_name(step))
        inputs = tuple(name for tensor, name in names.items() if tensor in reached)
        result.insert(0, replace(step, inputs=inputs))
        read |= {*inputs}
    return tuple(result)


def _fold(graph: GraphProto) -> None:
    """Compute the nodes that depend on constants alone; torch's exporter leaves some."""
    constants = {one.name: one for one in graph.initializer}
    kept: list[NodeProto] = []
    for node in graph.node:
        if not node.input or not all(name in constants for name in node.input):
            kept.append(node)
            continue
        values = {name: numpy_helper.to_array(constants[name]) for name in node.input}
        for name, value in zip(
            node.output, ReferenceEvaluator(node).run(None, values), strict=True
        ):
            constants[name] = numpy_helper.from_array(np.asarray(value), name)
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(constants.values())
