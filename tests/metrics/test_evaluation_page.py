"""docs/evaluation.md tells the conventions that protocols are measured by."""

from __future__ import annotations

from pathlib import Path

import pytest

from sr_cli.metrics.protocols import PROTOCOLS

PAGE = Path(__file__).parents[2] / "docs" / "evaluation.md"


@pytest.fixture(scope="module")
def told() -> dict[str, list[str]]:
    rows = (line.strip("| \n").split(" | ") for line in PAGE.read_text("utf-8").splitlines())
    return {row[0].strip("`"): row[1:] for row in rows if row[0].strip("`") in PROTOCOLS}


@pytest.mark.parametrize("name", [name for name in PROTOCOLS if name != "no-reference"])
def test_scales_border_and_luma_are_those_of_the_page(
    told: dict[str, list[str]], name: str
) -> None:
    description, scales, border, luma = told[name]
    protocol = PROTOCOLS[name]
    assert scales == ", ".join(map(str, protocol.scales))
    assert luma == ("rounded" if protocol.rounded_luma else "not rounded")
    for scale in protocol.scales:
        benchmark = protocol.at(scale)
        assert benchmark.border == (scale if border == "scale" else int(border))
        assert benchmark.rounded_luma == protocol.rounded_luma
    assert ("conditions apart" in description) is protocol.by_condition


def test_only_what_a_seed_changes_is_said_to_draw() -> None:
    drawing = {name for name, protocol in PROTOCOLS.items() if protocol.draws}
    assert drawing == {"real", "real-published", "real-cropped", "aniso", "blur-noise"}


def test_models_of_blur_alone_are_for_these_protocols() -> None:
    blurred = {name for name, protocol in PROTOCOLS.items() if not protocol.more_than_blur}
    assert blurred == {"aniso", "gaussian8", "paired", "no-reference"}
