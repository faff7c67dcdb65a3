"""The oldest releases that are tried are the oldest that are admitted."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

HERE = Path(__file__).parent


def test_the_oldest_releases_that_are_tried_are_those_that_are_admitted() -> None:
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["onnx"], *extras["plot"], *extras["tensorboard"]]
    found = [re.match(r"([\w-]+)>=([\d.]+)", requirement) for requirement in wanted]
    assert all(found)
    admitted = {(match[1], match[2].removesuffix(".0")) for match in found if match}
    lines = (HERE / "lowest.txt").read_text(encoding="utf-8").splitlines()
    tried = {tuple(line.removesuffix(".0").split("==")) for line in lines if line[0] != "#"}
    assert tried == admitted - {("torch", "2.11")}  # which comes in builds of its own
