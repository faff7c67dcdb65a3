"""Standard output that is closed, full, or of another encoding, and names that look like markup."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import Outcome, scene

Program = Callable[..., Outcome]
Shell = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a shell of POSIX")


@pytest.fixture
def shell(tmp_path: Path, tiny_weights: Path) -> Shell:
    """Runs a command on two pictures, ``a.png`` and ``b.png``, in a shell with redirections."""
    for name in ("a.png", "b.png"):
        Image.fromarray(scene(16, 20)).save(tmp_path / name)

    def run(
        command: str, redirections: str = "", encoding: str = "utf-8", **environment: str
    ) -> object:
        program = shlex.join([sys.executable, "-m", "sr_cli"])
        return subprocess.run(
            f"{program} {command} -m {shlex.quote(str(tiny_weights))} {redirections}",
            shell=True,
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            capture_output=True,
            encoding=encoding,
            check=False,
        )

    return run  # type: ignore[return-value]


def test_a_closed_standard_output_is_no_error(shell: Shell, tmp_path: Path) -> None:
    done = shell("upscale a.png b.png -o out", "<&- >&-")
    assert done.returncode == 0 and "2 done, 0 skipped, 0 failed" in done.stderr, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a_x4.png", "b_x4.png"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("option", ["", "--json"])
def test_a_full_standard_output_ends_the_work_in_one_sentence(shell: Shell, option: str) -> None:
    done = shell(f"upscale a.png b.png -o out {option}", ">/dev/full")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "0 done, 0 skipped, 0 failed, 2 not reached",
        "sr-cli: No space left on device.",
    ]


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="there is no /dev/stdout")
def test_nothing_else_goes_where_the_picture_goes(shell: Shell) -> None:
    done = shell("upscale a.png -o /dev/stdout --format ppm", "| head -c 13", encoding="latin-1")
    assert done.stdout == "P6\n80 64\n255\n", done.stderr
    assert "what had happened to it" in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_letters_that_an_encoding_lacks_are_escaped(
    shell: Shell, tmp_path: Path, encoding: str
) -> None:
    (tmp_path / "a.png").rename(tmp_path / "über 日.png")
    told = {"encoding": encoding, "PYTHONIOENCODING": encoding}
    table = shell("estimate-degradation über*", **told)
    assert table.returncode == 0, table.stderr
    assert r"\u65e5.png" in table.stdout
    line = shell("estimate-degradation über* --json", **told)
    assert json.loads(line.stdout)["input"] == "über 日.png"


def test_names_are_not_markup(
    program: Program, tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    odd = Path("a[/b") / "[red]c].png"
    odd.parent.mkdir(parents=True)
    Image.fromarray(scene(16, 20)).save(odd)
    for command in ("upscale", "estimate-degradation"):
        outcome = program(command, odd, "-m", tiny_weights)
        assert outcome.status == 0, outcome.err
        assert str(odd) in outcome.out
