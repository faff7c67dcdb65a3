"""The wheel is whole: it works where there is no checkout and no network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import scene

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "--quiet"]
    subprocess.run([*command, "--no-build-isolation", "-w", str(folder)], check=True, cwd=folder)
    return next(folder.glob("sr_cli-*.whl"))


def test_the_wheel_holds_manifest_weights_and_recipes(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "sr_cli/weights_manifest.json",
        "sr_cli/weights/dan-real-x4.safetensors",
        "training/recipes/dan-real-x4.toml",
        "training/trainer.py",
        "sr_cli/py.typed",
    } <= names
    assert not any(name.startswith("tests/") for name in names)


def test_an_installed_wheel_upscales_without_checkout_or_network(
    wheel: Path, tmp_path: Path
) -> None:
    place = tmp_path / "empty"
    venv.create(place, with_pip=True)
    python = place / ("Scripts" if os.name == "nt" else "bin") / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True, cwd=tmp_path)
    # The dependencies are borrowed from this environment instead of being downloaded again; its
    # own .pth files, and so an editable checkout, are not followed from there.
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    borrowed = Path(site.stdout.strip()) / "borrowed.pth"
    borrowed.write_text(sysconfig.get_path("purelib") + "\n")
    code = "import sr_cli, training; print(sr_cli.__file__, training.__file__)"
    found = subprocess.run(
        [python, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path
    )
    assert all(path.startswith(str(place)) for path in found.stdout.split())

    Image.fromarray(scene(20, 24)).save(tmp_path / "photo.png")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [python.with_name("sr-cli"), "upscale", "photo.png", "--json"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
        env=environment | {"HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["width"] == 96
    assert Image.open(tmp_path / "photo_x4.png").size == (96, 80)
