"""`export-onnx`, and the other commands with what it writes; also where torch is not installed."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from sr_cli.cli.export import _stem
from sr_cli.degradation.layout import TWO_STAGE
from sr_cli.export import cache, making
from sr_cli.inference.errors import InferenceError
from sr_cli.opening import open_model, torch_device
from tests.conftest import Outcome, scene

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "onnx.md").read_text(encoding="utf-8")
Program = Callable[..., Outcome]

WITHOUT_TORCH = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "onnxscript", "safetensors", "scipy"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
from sr_cli.cli.main import run
run()
"""


@pytest.fixture(scope="module")
def exported(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model as the command writes it."""
    out = tmp_path_factory.mktemp("exported") / "tiny.onnx"
    command = [sys.executable, "-m", "sr_cli", "export-onnx", "--model", tiny_weights]
    done = subprocess.run([*command, "-o", out], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert re.search(r"Largest difference from torch: \d\.\de-0[5-9]", done.stdout)
    return out


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("picture") / "photo.png"
    Image.fromarray(scene(50, 70)).save(path)
    return path


def test_the_command_writes_what_it_promises(exported: Path, tiny_weights: Path) -> None:
    model = onnx.load(exported)
    onnx.checker.check_model(model, full_check=True)
    facts = {one.key: one.value for one in model.metadata_props}
    assert [one.name for one in model.graph.input] == ["lr"]
    assert [one.name for one in model.graph.output] == ["sr", "degradation"]
    assert (facts["model"], facts["scale"], facts["precision"]) == (tiny_weights.name, "4", "fp32")
    assert facts["weights_sha256"] == hashlib.sha256(tiny_weights.read_bytes()).hexdigest()
    numbers = json.loads(facts["degradation"])["numbers"]
    assert [one["name"] for one in numbers] == [p.key for p in TWO_STAGE.parameters]


def test_an_existing_file_and_wrong_names_are_refused(
    exported: Path, tmp_path: Path, program: Program
) -> None:
    before = exported.read_bytes()
    (tmp_path / "folder.onnx").mkdir()
    for out, words in (
        (exported, "exists already; --overwrite replaces it"),
        (tmp_path / "model.pt", "must end in .onnx"),
        (tmp_path / "nowhere" / "model.onnx", "There is no folder"),
        (tmp_path / "folder.onnx", "is a folder"),
    ):
        outcome = program("export-onnx", "-o", out)
        assert outcome.status == 1 and words in outcome.err
    assert exported.read_bytes() == before
    calibrated = ("export-onnx", "-o", tmp_path / "x.onnx", "--calibration")
    assert program(*calibrated, tmp_path).status == 2
    missing = program(*calibrated, tmp_path / "none", "--precision", "int8")
    assert missing.status == 1 and "There is no folder" in missing.err


@pytest.mark.parametrize(
    ("model", "stem"),
    [
        ("me@home/model.pth", "model"),
        ("runs@2/ema.safetensors", "ema"),
        (r"C:\weights\a.b.safetensors", "a.b"),
        ("hf:me/dan@main", "dan"),
        ("hf:me/dan", "dan"),
        ("dan-real-x4", "dan-real-x4"),
    ],
)
def test_a_file_is_called_after_the_model(model: str, stem: str) -> None:
    assert _stem(model) == stem


def test_too_little_memory_is_no_bug(
    tiny_weights: Path, tmp_path: Path, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(*_: Any) -> Any:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(making, "made", made)
    outcome = program("export-onnx", "-m", tiny_weights, "-o", tmp_path / "model.onnx")
    assert (outcome.status, outcome.err) == (1, "sr-cli: there is not enough memory for this.\n")


def test_a_file_that_appears_meanwhile_is_kept(
    tiny_weights: Path, tmp_path: Path, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "model.onnx"
    right = making.made

    def made(*arguments: Any) -> Any:
        out.write_text("precious")
        return right(*arguments)

    monkeypatch.setattr(making, "made", made)
    run = ("export-onnx", "-m", tiny_weights, "-o", out, "--no-verify")
    outcome = program(*run)
    assert outcome.status == 1 and "appeared meanwhile and was kept" in outcome.err
    assert out.read_text() == "precious"
    assert program(*run, "--overwrite").status == 0


def test_the_file_is_measured_as_its_weights_are(
    exported: Path, tiny_weights: Path, tmp_path: Path, program: Program
) -> None:
    Image.fromarray(scene(96, 108)).save(tmp_path / "photo.png")
    run = ("evaluate", "--data", tmp_path, "-m", tiny_weights, "-m", exported)
    answer = json.loads(program(*run, "--json").out)
    ours, theirs = (answer["methods"][str(name)] for name in (tiny_weights, exported))
    assert theirs == pytest.approx(ours, abs=1e-3)
    assert answer["own_precisions"] == {str(exported): "fp32"}
    assert len(answer["skill"][str(exported)]) == 42
    refused = program(*run, "--iterations", "1,2")
    assert refused.status == 1 and "runs in one way only" in refused.err
    again = program("export-onnx", "-m", exported, "-o", tmp_path / "again.onnx")
    assert again.status == 1 and "ONNX file already" in again.err


def test_the_file_gives_the_weights_picture(
    exported: Path, tiny_weights: Path, picture: Path, tmp_path: Path, program: Program
) -> None:
    reports = []
    for model in (tiny_weights, exported):
        out = tmp_path / f"{model.stem}{model.suffix}.png"
        arguments = ("--precision", "fp32", "--tile", "32", "--json")
        outcome = program("upscale", picture, "--model", model, "-o", out, *arguments)
        assert outcome.status == 0, outcome.err
        reports.append((json.loads(outcome.out), np.asarray(Image.open(out)).astype(int)))
    (by_torch, right), (by_onnx, result) = reports
    assert np.abs(right - result).max() <= 1  # on the edge between two levels
    assert by_onnx["backend"] == "onnx" and by_torch["backend"] == "torch"
    vectors = [one["degradation"]["vector"] for one in (by_torch, by_onnx)]
    assert np.allclose(*vectors, atol=1e-5)


@pytest.mark.parametrize("command", ["upscale", "estimate-degradation"])
def test_torch_is_not_needed(command: str, exported: Path, picture: Path, tmp_path: Path) -> None:
    arguments = [command, picture, "--model", exported, "--json"]
    if command == "upscale":
        arguments += ["-o", tmp_path / "large.png"]
    run = [sys.executable, "-c", WITHOUT_TORCH, *map(str, arguments)]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert len(json.loads(done.stdout)["degradation"]["vector"]) == 42


def test_without_torch_other_models_say_what_to_do(picture: Path, tmp_path: Path) -> None:
    run = [sys.executable, "-c", WITHOUT_TORCH, "upscale", str(picture)]
    environment = os.environ | {"HF_HOME": str(tmp_path)}
    done = subprocess.run(run, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert "needs torch" in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("evaluate", "--data", "x"),
        ("bench",),
        ("degrade", "PICTURE", "-o", "bad"),
        ("train", "--list"),
        ("convert", "a.pth", "b.safetensors"),
    ],
)
def test_commands_that_need_torch_say_so(
    arguments: tuple[str, ...], picture: Path, tmp_path: Path
) -> None:
    given = [str(picture) if one == "PICTURE" else one for one in arguments]
    run = [sys.executable, "-c", WITHOUT_TORCH, *given]
    done = subprocess.run(run, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert "torch, which this needs, is not installed" in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_any_model_is_exported_once(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path))
    rgb = scene(30, 40).astype(np.float32) / 255
    told: list[str] = []
    opened = open_model(str(tiny_weights), backend="onnx", told=told.append)
    assert len(told) == 1 and "Exporting" in told[0]
    first = opened.engine.upscale(rgb)
    (kept,) = (tmp_path / "sr-cli").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(cache, "_made", None)  # not called again
        again = open_model(str(tiny_weights), backend="onnx", told=told.append)
        assert len(told) == 1
        assert np.array_equal(again.engine.upscale(rgb).rgb, first.rgb)
    # A damaged copy is made anew, and what a killed run left is removed.
    (kept.parent / ".sr-cli-0123456789abcdef.partial").write_bytes(b"half of it")
    whole = kept.read_bytes()
    for damaged in (whole[:1000], whole.replace(b'"stride": 1', b'"stride": 0')):
        kept.write_bytes(damaged)
        assert cache.exported(str(tiny_weights), "fp32", told.append).facts.scale == 4
        assert kept.read_bytes() == whole
    assert len(told) == 3
    assert list(kept.parent.iterdir()) == [kept]


@pytest.mark.parametrize(
    ("backend", "place", "precision", "words"),
    [
        ("onnx", "cpu", "bf16", "needs --backend torch"),
        ("onnx", "cpu", "fp16", "slow on CPUs; use --precision fp32 or int8"),
        ("onnx", "cuda:0", "int8", "is for CPUs"),
        ("torch", "cpu", "int8", "needs --backend onnx"),
        ("torch", "cpu", "fp16", "slow on CPUs; use --precision bf16 or fp32"),
    ],
)
def test_what_a_backend_cannot_do_is_said(
    tiny_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    backend: Any,
    place: str,
    precision: Any,
    words: str,
) -> None:
    monkeypatch.setattr("sr_cli.inference.onnx_backend.place", lambda _: place)
    with pytest.raises(InferenceError, match=words):
        open_model(str(tiny_weights), place, precision, backend)


@pytest.mark.parametrize(
    ("place", "told", "taken"),
    [
        ("cpu", "auto", "fp32"),
        ("cpu", "int8", "int8"),
        ("cuda:0", "auto", "fp16"),
        ("cuda:0", "fp16", "fp16"),
        ("cuda:0", "fp32", "fp32"),
    ],
)
@pytest.mark.parametrize("has_torch", [True, False])
def test_onnx_runtime_computes_in_what_is_told_or_fast(
    tiny_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    told: Any,
    taken: str,
    has_torch: bool,
) -> None:
    """Without torch it need not be asked for."""

    class ExportedError(Exception):
        pass

    def exported(name: str, precision: str, _: object) -> None:
        raise ExportedError(name, precision)

    monkeypatch.setattr("sr_cli.inference.onnx_backend.place", lambda _: place)
    monkeypatch.setattr(cache, "exported", exported)
    if not has_torch:
        monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ExportedError) as raised:
        open_model(str(tiny_weights), place, told, "onnx" if has_torch else "auto")
    assert raised.value.args == (str(tiny_weights), taken)


@pytest.mark.parametrize(
    ("has_cuda", "has_mps", "taken"),
    [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_torch_takes_the_fastest_device_there_is(
    monkeypatch: pytest.MonkeyPatch, has_cuda: bool, has_mps: bool, taken: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: has_cuda)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: has_mps)
    assert torch_device("auto").type == taken


def test_onnx_runtime_keeps_nothing_of_its_user(
    exported: Path, picture: Path, tmp_path: Path
) -> None:
    unset = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "CI")
    there = {key: value for key, value in os.environ.items() if key not in unset}
    home = tmp_path / "home"
    home.mkdir()
    command = [sys.executable, "-m", "sr_cli", "upscale", picture, "--model", exported]
    done = subprocess.run(
        [*command, "-o", tmp_path / "large.png"],
        env=there | {"HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [path for path in home.rglob("*") if path.is_file()] == []


def script() -> str:
    """The user's script of the docs."""
    (found,) = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)
    return str(found)


def test_the_docs_script_is_short_and_needs_three_packages() -> None:
    assert len(script().splitlines()) == 10
    imported: set[str] = set()
    for node in ast.walk(ast.parse(script())):
        if isinstance(node, ast.Import):
            imported |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module))
    assert imported == {"json", "sys", "numpy", "onnxruntime", "PIL"}


def test_the_docs_script_does_the_same(
    exported: Path, picture: Path, tmp_path: Path, program: Program
) -> None:
    (tmp_path / "enlarge.py").write_text(script(), encoding="utf-8")
    command = [sys.executable, "enlarge.py", exported, picture, "by-script.png"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    out = tmp_path / "by-command.png"
    outcome = program("upscale", picture, "--model", exported, "-o", out, "--json")
    pictures = [np.asarray(Image.open(p)) for p in (tmp_path / "by-script.png", out)]
    assert np.abs(pictures[0].astype(int) - pictures[1]).max() <= 1
    vector = json.loads(outcome.out)["degradation"]["vector"]
    told = dict(line.split(": ") for line in done.stdout.splitlines())
    assert list(told) == [p.key for p in TWO_STAGE.parameters]
    for p in TWO_STAGE.parameters:
        value, unit = told[p.key].split()
        assert unit == p.unit
        assert float(value) == pytest.approx(p.low + vector[p.index] * (p.high - p.low), abs=2e-3)


def test_the_docs_and_the_extra_name_the_same_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = project["optional-dependencies"]["onnx"]
    extra = {re.split(r"[^\w-]", one)[0] for one in lines}
    assert extra - {"onnxruntime-gpu"} == set(_packages())


def _packages() -> list[str]:
    (line,) = re.findall(r"^pip install (?!--no-deps)(.*)$", DOCS, re.MULTILINE)
    return str(line).split()


@pytest.mark.skipif("SR_CLI_FULL_TESTS" not in os.environ, reason="installs packages")
def test_a_clean_environment_without_torch(exported: Path, picture: Path, tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", ROOT, "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--quiet", "-w", tmp_path], check=True)
    wheel = next(tmp_path.glob("sr_cli-*.whl"))
    venv.create(tmp_path / "clean", with_pip=True)
    python = tmp_path / "clean" / ("Scripts" if os.name == "nt" else "bin") / "python"
    install = [python, "-m", "pip", "install", "--quiet"]
    subprocess.run([*install, "--no-deps", wheel], check=True, cwd=tmp_path)
    subprocess.run([*install, *_packages()], check=True, cwd=tmp_path)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

    def run(*arguments: object) -> str:
        done = subprocess.run(
            [python.with_name("sr-cli"), *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env=environment,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout

    missing = subprocess.run([python, "-c", "import torch"], capture_output=True, check=False)
    assert missing.returncode != 0
    report = json.loads(run("upscale", picture, "--model", exported, "-o", "large.png", "--json"))
    assert (report["width"], report["height"], report["backend"]) == (280, 200, "onnx")
    assert "Stage" in run("estimate-degradation", picture, "--model", exported)
    (tmp_path / "enlarge.py").write_text(script(), encoding="utf-8")
    subprocess.run([python, "enlarge.py", exported, picture, "x.png"], check=True, cwd=tmp_path)
