"""`sr-cli models` and `sr-cli convert` at the terminal."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sr_cli.cli import console
from sr_cli.networks import registry
from sr_cli.zoo import manifest
from tests.conftest import Outcome

Program = Callable[..., Outcome]


def test_the_list_takes_wildcards_and_shows_what_has_no_weights(program: Program) -> None:
    out = program("models", "list", "*-x3").out
    assert "danv1-iso-x3" in out and "not trained yet" in out and "dan-real-x4" not in out
    listed = [json.loads(line) for line in program("models", "list", "--json").out.splitlines()]
    assert [one["name"] for one in listed] == list(manifest.manifest())
    nothing = program("models", "list", "resnet*")
    assert nothing.status == 1 and "No model fits 'resnet*'" in nothing.err


def test_show_tells_people_and_scripts(program: Program) -> None:
    out = program("models", "show", "realdan-x4").out
    for text in ("dan-real-x4 = realdan-x4", "sha256", "exact", "Luo et al.", "psnr_y 25.47"):
        assert text in out
    figure = manifest.find("realdan-x4").figures[0]
    assert f"psnr_y {figure['psnr_y']}" in out  # measured, beside what papers say
    weights = manifest.find("realdan-x4").weights
    assert weights is not None and weights.sha256 in out  # whole, though this is no wide terminal
    assert max(map(len, out.splitlines())) <= 80
    facts = json.loads(program("models", "show", "danv2-iso-x4", "--json").out)
    assert facts["weights"] is None and facts["options"]["group_blocks"] == 10


def test_bundled_weights_are_here_and_whole(program: Program) -> None:
    path = Path(program("models", "path").out.strip())
    assert path.is_file()
    assert program("models", "verify").out.startswith("dan-real-x4  ok")
    pulled = json.loads(program("models", "pull", "dan-real-x4", "--json").out)
    assert pulled["path"] == str(path)


def test_where_weights_are_is_told_to_scripts_too(program: Program) -> None:
    path = program("models", "path", "dan-blur-x2").out.strip()
    told = program("models", "path", "dan-blur-x2", "--json")
    assert json.loads(told.out) == {"name": "dan-blur-x2", "path": path}
    missing = program("models", "path", "hf:nobody/nowhere/net.pth")
    assert missing.status == 1 and "`sr-cli models pull hf:nobody/nowhere/net.pth`" in missing.err


def test_what_was_not_trained_is_not_wrong(program: Program) -> None:
    done = program("models", "verify", "dssr-iso-x4")
    assert (done.status, done.out) == (0, "dssr-iso-x4  not trained yet\n")


@pytest.mark.parametrize("command", ["path", "pull"])
def test_what_was_not_trained_is_told(program: Program, command: str) -> None:
    done = program("models", command, "dssr-iso-x4")
    assert done.status == 1 and "no released weights yet" in done.err
    assert program("models", "pull", "dssr*").status == 1


def test_convert_says_what_it_wrote(program: Program, tmp_path: Path) -> None:
    state = registry.family("EDSR").build(scale=2, features=8, blocks=1).state_dict()
    source, target = tmp_path / "net.pth", tmp_path / "net.safetensors"
    torch.save(state, source)
    done = program("convert", source, target)
    assert done.status == 0 and "EDSR (scale 2, features 8" in done.out
    again = program("convert", source, target)
    assert again.status == 1 and "--overwrite" in again.err
    told = json.loads(program("convert", source, target, "--overwrite", "--json").out)
    assert told["network"] == "EDSR" and told["path"] == str(target)
    unknown = program("convert", "dan-real-x4", target, "--overwrite")
    assert unknown.status == 1 and "no weights file" in unknown.err


def test_convert_knows_where_to_write_before_it_fetches(program: Program, tmp_path: Path) -> None:
    (tmp_path / "there.safetensors").touch()
    (tmp_path / "folder.safetensors").mkdir()
    for name, hint in (
        *(("there.safetensors", "--overwrite"), ("out.bin", ".safetensors")),
        *(("folder.safetensors", "is a folder"), ("none/out.safetensors", "is not there")),
    ):
        outcome = program("convert", "hf:nobody/nowhere/weights.pth", tmp_path / name)
        assert outcome.status == 1 and hint in outcome.err


@pytest.mark.parametrize("command", ["list", "verify"])
def test_the_zoo_is_shown_without_torch(command: str) -> None:
    code = (
        f"import sys; sys.argv = ['sr-cli', 'models', '{command}']\n"
        "from sr_cli.cli.main import run\n"
        "try: run()\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'torch', 'training'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_names_are_whole_however_narrow_the_terminal(
    program: Program, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setattr(console.out, "_width", columns)
    lines = program("models", "list").out.splitlines()
    assert all(any(line.startswith(name) for line in lines) for name in manifest.manifest())
    assert max(map(len, lines)) <= columns


@pytest.mark.parametrize("command", ["pull", "verify"])
def test_what_fails_of_one_name_stops_no_other(program: Program, command: str) -> None:
    done = program("models", command, "nosuch", "zz*", "dan-real-x4", "--json")
    assert done.status == 1
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["name"] for line in lines] == ["nosuch", "zz*", "dan-real-x4"]
    assert "no model 'nosuch'" in lines[0]["error"] and "fits 'zz*'" in lines[1]["error"]
    assert "error" not in lines[2] and done.err.count("sr-cli: ") == 2
