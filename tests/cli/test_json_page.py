"""docs/json.md says what `--json` prints."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from tests.conftest import Outcome, scene

PAGE = (Path(__file__).parents[2] / "docs" / "json.md").read_text(encoding="utf-8")
Program = Callable[..., Outcome]


def keys(section: str, line: str) -> set[str]:
    """Those that the page has for a kind of line, or a command of the last section."""
    text = next(part for part in PAGE.split("\n## ") if part.startswith(section))
    (row,) = re.findall(rf"^\| {re.escape(line)}[^|]*\|(.*)\|$", text, re.MULTILINE)
    return set(re.findall(r"`(\w+)`", row))


def printed(outcome: Outcome) -> list[set[str]]:
    return [set(json.loads(line)) for line in outcome.out.splitlines()]


def test_the_lines_of_pictures(program: Program, tmp_path: Path, tiny_weights: Path) -> None:
    photo, missing = tmp_path / "a.png", tmp_path / "none.png"
    Image.fromarray(scene(20, 24)).save(photo)
    upscale = ("upscale", photo, "-m", tiny_weights, "--json")
    outcome = program(*upscale, missing)
    lines = sorted(printed(outcome), key=len, reverse=True)  # a failure may be known first
    assert lines == [keys("sr-cli upscale", kind) for kind in ("done", "failed")]
    assert printed(program(*upscale, "--skip-existing")) == [keys("sr-cli upscale", "left")]
    estimate = ("estimate-degradation", photo, missing, "-m", tiny_weights, "--json")
    outcome = program(*estimate)
    found = printed(outcome)
    assert found == [keys("sr-cli estimate", kind) for kind in ("done", "failed")]
    degradation = json.loads(outcome.out.splitlines()[0])["degradation"]
    assert set(degradation) == {"layout", "vector", "stages", "summary"}
    numbers = [n for stage in degradation["stages"] for n in stage["numbers"].values()]
    assert {key for number in numbers for key in number} <= {
        *("value", "error", "unit", "known", "limit", "if")
    }


def test_the_lines_of_files(program: Program, tmp_path: Path, tiny_weights: Path) -> None:
    made = ("export-onnx", "-m", tiny_weights, "-o", tmp_path / "x.onnx", "--no-verify", "--json")
    published = ("models", "publish", tiny_weights, "--repo", "a/b", "-o", tmp_path / "published")
    converted = ("convert", tiny_weights, tmp_path / "x.safetensors", "--json")
    for name, run in (
        ("`export-onnx`", made),
        ("`convert`", converted),
        ("`models path`", ("models", "path", "--json")),
        ("`models pull`", ("models", "pull", "dan-real-x4", "--json")),
        ("`models verify`", ("models", "verify", "dan-real-x4", "--json")),
        ("`models publish`", (*published, "--dry-run", "--json")),
    ):
        assert printed(program(*run)) == [keys("The others", name) - {"no", "verify"}], name


def test_the_lines_of_measurements(program: Program, tmp_path: Path, tiny_weights: Path) -> None:
    Image.fromarray(scene(96, 96)).save(tmp_path / "a.png")
    run = ("evaluate", "-m", tiny_weights, "--data", tmp_path, "--json")
    (found,) = printed(program(*run))
    told = keys("The others", "`evaluate`")
    assert told - found <= {"conditions", "published"}
    run = ("bench", "-m", tiny_weights, "--size", "24x24", "--json")
    (found,) = printed(program(*run))
    assert keys("The others", "`bench`") <= found
    run = ("models", "show", "dan-real-x4", "--json")
    (found,) = printed(program(*run))
    assert {"name", "weights", "scale", "tiling", "ranges"} <= found
