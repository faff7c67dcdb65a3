"""The oldest releases that are tried are the oldest that are admitted."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
TRIED_ELSEWHERE = {"torch", "lpips", "spandrel"}
"""torch comes in builds of its own; the others are not needed to run the tests."""


def test_the_oldest_releases_that_are_tried_are_those_that_are_admitted() -> None:
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["onnx"], *extras["plot"], *extras["tensorboard"]]
    found = [re.match(r"([\w-]+)>=([\d.]+)", requirement) for requirement in wanted]
    admitted = {match[1]: match[2] for match in found if match}
    assert len(found) == sum(match is not None for match in found)
    lines = (HERE / "lowest.txt").read_text(encoding="utf-8").splitlines()
    tried = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert tried.keys() == admitted.keys() - TRIED_ELSEWHERE
    for name, version in tried.items():
        assert version.removesuffix(".0") == admitted[name].removesuffix(".0"), name
