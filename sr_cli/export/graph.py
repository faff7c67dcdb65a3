"""What is done to a graph, or asked of it, on its way to more than one precision."""

from __future__ import annotations

from onnx import GraphProto

from sr_cli.inference.plan import LR


def drop_unused(graph: GraphProto, wanted: set[str]) -> None:
    """Take out, in place, what nothing that is wanted is made of.

    Args:
        graph: Of which the order stays.
        wanted: Tensors to keep, the graph's outputs among them.
    """
    makers = {name: node for node in graph.node for name in node.output}
    waiting, seen = list(wanted), set(wanted)
    while waiting:
        node = makers.get(waiting.pop())
        fresh = set(node.input) - seen if node else set()
        seen |= fresh
        waiting += fresh
    nodes = [node for node in graph.node if seen & {*node.output}]
    constants = [one for one in graph.initializer if one.name in seen]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(constants)


def first_convolved(graph: GraphProto) -> set[str]:
    """What is made of the picture and its pixels' positions, up to and with first convolutions."""
    constants = {one.name for one in graph.initializer}
    made: set[str] = set()
    early = {LR}
    for node in graph.node:
        fresh = [name for name in node.input if name and name not in constants]
        if all(name in early for name in fresh):
            made |= {*node.output}
            if node.op_type != "Conv":
                early |= {*node.output}
    return made
