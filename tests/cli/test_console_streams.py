"""What is told arrives, as it is."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sr_cli.cli import console
from sr_cli.cli.evaluation_tables import print_answer
from sr_cli.images.quiet import quiet

ODD = "a:cat:[red]b[/w].png"


def told_while_a_picture_is_decoded() -> None:
    """Run in a process of its own: whatever the libraries say is muted, the program is not."""
    console.ready()
    with quiet():
        console.complain("picture 1 failed")
        subprocess.run(["sh", "-c", "echo library >&2"], check=True)
    console.note("and done")


def test_failures_are_told_while_another_picture_is_decoded() -> None:
    code = (
        "from tests.cli.test_console_streams import told_while_a_picture_is_decoded as run; run()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "picture 1 failed\nand done\n"


def test_names_are_no_codes(capsys: pytest.CaptureFixture[str]) -> None:
    console.complain(ODD)
    console.note(ODD)
    console.out.print(ODD)
    captured = capsys.readouterr()
    assert captured.err == f"{ODD}\n" * 2 and captured.out == f"{ODD}\n"


def test_names_in_tables_are_no_codes(capsys: pytest.CaptureFixture[str]) -> None:
    figures = {"bicubic": {"psnr_y": 20.0}, ODD: {"psnr_y": 21.0}}
    answer = {"protocol": "real", "scale": 4, "data": "ds[val]", "cases": 1, "skill": {}}
    print_answer({**answer, "by_condition": False, "methods": figures}, skill=False)
    shown = capsys.readouterr().out
    assert "ds[val]" in shown and ODD in shown
