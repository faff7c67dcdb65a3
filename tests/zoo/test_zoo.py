"""Models are found, verified and loaded, and what is wrong is said in a sentence."""

from __future__ import annotations

import json
import pickle
from importlib import resources
from pathlib import Path

import pytest
import torch

from sr_cli.degradation.layout import TWO_STAGE
from sr_cli.networks.dan import DAN
from sr_cli.networks.registry import FAMILIES
from sr_cli.zoo import manifest, weights
from sr_cli.zoo.loading import load
from sr_cli.zoo.manifest import DEFAULT_MODEL, ZooError
from tests.conftest import TINY


def test_every_entry_of_the_manifest_builds_its_network() -> None:
    names = {family.name for family in FAMILIES}
    assert DEFAULT_MODEL in manifest.manifest()
    for model in manifest.manifest().values():
        assert model.network in names
        assert model.scale == model.options["scale"]


def test_bundled_weights_are_what_the_manifest_says() -> None:
    for model in manifest.manifest().values():
        if model.weights is None or model.weights.bundled is None:
            continue
        path = Path(str(resources.files("sr_cli") / "weights" / model.weights.bundled))
        assert path.stat().st_size == model.weights.bytes
        assert weights.sha256(path) == model.weights.sha256
        _, header = weights.read(path)
        assert json.loads(header["options"]) == dict(model.options)


def test_the_default_model_has_measured_skill_for_every_number() -> None:
    loaded = load(DEFAULT_MODEL)
    assert set(loaded.estimate) == {p.key for p in TWO_STAGE.parameters}
    for key, skill in loaded.estimate.items():
        assert -1 <= skill["correlation"] <= 1 and skill["error"] >= 0, key
    assert sum(p.numel() for p in loaded.network.parameters()) == 1_954_007


def test_loading_returns_what_was_saved(tiny_weights: Path) -> None:
    torch.manual_seed(0)
    saved = DAN(**TINY).state_dict()  # type: ignore[arg-type]
    loaded = load(str(tiny_weights)).network.state_dict()
    assert saved.keys() == loaded.keys()
    for key, value in saved.items():
        assert torch.equal(value.half().float(), loaded[key])


def test_a_header_tells_the_iterations_that_shapes_cannot(tmp_path: Path) -> None:
    options = TINY | {"iterations": 2}
    path = tmp_path / "two.safetensors"
    weights.write(path, DAN(**options).state_dict(), "DAN", options)  # type: ignore[arg-type]
    assert load(str(path)).network.iterations == 2


@pytest.mark.parametrize("wrapping", ["params_ema", "params", "state_dict", None])
def test_published_pickles_load_whatever_their_wrapping(
    tmp_path: Path, wrapping: str | None
) -> None:
    state = {f"module.{k}": v for k, v in DAN(features=8, blocks=2).state_dict().items()}
    path = tmp_path / "published.pth"
    torch.save({wrapping: state} if wrapping else state, path)
    assert load(str(path)).scale == 4


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("code ran",))


def test_a_pickle_that_wants_to_run_code_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps({"weight": Malicious()}))
    with pytest.raises(ZooError, match="refused"):
        load(str(path))
    assert "code ran" not in capsys.readouterr().out


def test_an_unknown_name_is_answered_with_near_ones() -> None:
    with pytest.raises(ZooError, match="dan-real-x4"):
        load("dan-reel-x4")


def test_a_changed_weights_file_is_refused_with_its_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = manifest.find(DEFAULT_MODEL)
    assert model.weights is not None and model.weights.bundled is not None
    original = Path(str(resources.files("sr_cli") / "weights" / model.weights.bundled))
    broken = tmp_path / "weights" / model.weights.bundled
    broken.parent.mkdir()
    broken.write_bytes(original.read_bytes()[:-1] + b"x")
    monkeypatch.setattr(weights.resources, "files", lambda _: tmp_path)
    with pytest.raises(ZooError, match=weights.sha256(broken)):
        weights.locate(model)


def test_files_that_are_no_weights_are_named(tmp_path: Path) -> None:
    text = tmp_path / "text.safetensors"
    text.write_text("hello")
    with pytest.raises(ZooError, match="not a whole safetensors file"):
        load(str(text))
    with pytest.raises(ZooError, match="no weights file"):
        load(str(tmp_path / "missing.safetensors"))
    other = tmp_path / "other.safetensors"
    from safetensors.torch import save_file

    save_file({"conv_first.weight": torch.zeros(3)}, other)
    with pytest.raises(ZooError, match=r"conv_first\.weight"):
        load(str(other))


def test_a_reference_to_the_hub_must_be_whole() -> None:
    with pytest.raises(ZooError, match="hf:owner/repo/file"):
        load("hf:owner/file.pth")


def test_a_manifest_of_another_version_or_damaged_is_refused() -> None:
    with pytest.raises(ZooError, match="version 99"):
        manifest.parse('{"version": 99, "models": []}')
    with pytest.raises(ZooError, match="damaged"):
        manifest.parse('{"version": 1, "models": [{}]}')
