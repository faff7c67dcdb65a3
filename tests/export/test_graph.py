"""What is done to graphs in every precision."""

from __future__ import annotations

import numpy as np
from onnx import GraphProto, TensorProto, helper, numpy_helper

from sr_cli.export.graph import drop_unused, first_convolved
from sr_cli.inference.plan import LR, SR


def graph() -> GraphProto:
    """Two convolutions to the picture, and two nodes, one behind the other, that nobody needs."""
    nodes = [
        helper.make_node("Mul", [LR, "half"], ["darker"]),
        helper.make_node("Relu", ["darker"], ["aside"]),
        helper.make_node("Conv", ["darker", "weight"], ["feature"]),
        helper.make_node("Relu", ["feature"], ["bent"]),
        helper.make_node("Add", ["aside", "lost"], ["nowhere"]),
        helper.make_node("Conv", ["bent", "weight"], [SR]),
    ]
    constants = [
        numpy_helper.from_array(np.ones(shape, np.float32), name)
        for name, shape in (("half", ()), ("weight", (3, 3, 1, 1)), ("lost", ()))
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in (LR, SR)]
    return helper.make_graph(nodes, "made-here", ends[:1], ends[1:], constants)


def test_what_leads_nowhere_is_dropped_with_all_before_it() -> None:
    made = graph()
    drop_unused(made, {SR})
    assert [node.output[0] for node in made.node] == ["darker", "feature", "bent", SR]
    assert [one.name for one in made.initializer] == ["half", "weight"]


def test_what_is_wanted_stays_with_all_before_it() -> None:
    made = graph()
    drop_unused(made, {SR, "aside"})
    assert [node.output[0] for node in made.node] == ["darker", "aside", "feature", "bent", SR]


def test_the_way_to_the_first_convolutions_ends_with_them() -> None:
    assert first_convolved(graph()) == {"darker", "aside", "feature", "nowhere"}
