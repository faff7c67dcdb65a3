"""Published checkpoints of every family: through `convert` and directly, to the authors' numbers.

The reference files name keys, shapes and outputs of the published networks; the weights are made
from the keys, and here they are saved as their authors save them.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from sr_cli.networks import registry
from sr_cli.temporary import AppearedError
from sr_cli.zoo import conversion, store, weights
from sr_cli.zoo.loading import load, recognise
from sr_cli.zoo.manifest import ZooError, find
from tests.networks.references import Reference, sources
from tests.networks.references import load as load_reference

TOLERANCE = 1e-4
"""Of the largest value: what another order of additions in float32 may change."""

RESULTS = ("out", "sr3", "sr")
"""What the reference files call the final picture, the last steps of recurrent networks first."""

NETWORKS = (
    *("realdan-x4", "realdan-rrdb-x4", "kerneldan-x2", "danv1-x2-setting1", "danv2-x2-setting2"),
    *("dssr-x2", "edsr-baseline-x4", "rrdb-x4"),
)
"""One of each family and body; `tests/networks` goes through them all."""


@pytest.mark.parametrize("source", sources(*NETWORKS))
def test_a_published_checkpoint_gives_the_authors_picture(source: Path, tmp_path: Path) -> None:
    reference = load_reference(source)
    checkpoint, target = tmp_path / "net.pth", tmp_path / "net.safetensors"
    # As a trainer on several GPUs saves it.
    state = {f"module.{key}": value for key, value in reference.state.items()}
    torch.save({"params_ema": state}, checkpoint)
    done = conversion.convert(checkpoint, target)
    assert done.parameters == sum(value.numel() for value in state.values())

    direct, converted = load(str(checkpoint)).network, load(str(target)).network
    for key, value in direct.state_dict().items():
        assert torch.equal(value, converted.state_dict()[key]), key
    name, inputs = next(reference.cases())
    with torch.inference_mode():
        picture = converted(inputs["lr"])[0]
    assert picture_error(reference, name, picture) <= TOLERANCE


def picture_error(reference: Reference, case: str, picture: Tensor) -> float:
    """Of a final picture, relative to the largest magnitude in the authors'."""
    outputs = reference.info["cases"][0]["out"]
    key = f"{case}/out/{next(name for name in RESULTS if name in outputs)}"
    values = reference.arrays[key].reshape(-1)
    stride, largest = reference.info.get("condensed", {}).get(key, (1, np.abs(values).max()))
    return float(np.abs(picture.numpy().reshape(-1)[::stride] - values).max() / largest)


@pytest.mark.parametrize("source", sources("kerneldan-x2", "danv1-x2-setting2"))
def test_conversion_keeps_every_bit_and_tells_where_from(source: Path, tmp_path: Path) -> None:
    state = load_reference(source).state
    checkpoint, target = tmp_path / "published.pth", tmp_path / "ours.safetensors"
    torch.save(state, checkpoint)
    done = conversion.convert(checkpoint, target)
    family, options, renamed = registry.recognise(state)
    written, header = weights.read(target)
    assert header["source_sha256"] == store.sha256(checkpoint) == done.source_sha256
    assert header["source"] == "published.pth"
    assert header["network"] == family.name and json.loads(header["options"]) == options
    assert written.keys() == renamed.keys()
    for key, value in renamed.items():
        assert written[key].dtype == value.dtype and torch.equal(written[key], value)


def test_a_converted_copy_tells_as_much_as_what_it_was_made_of(tmp_path: Path) -> None:
    source, copy = store.locate(find("dan-real-gan-x4")), tmp_path / "copy.safetensors"
    again = tmp_path / "again.safetensors"
    conversion.convert(source, copy)
    conversion.convert(copy, again)
    for made in (copy, again):
        assert load(str(made)).estimate == find("dan-real-gan-x4").estimate
    state, header = weights.read(copy)
    state["image_tail.0.bias"] = state["image_tail.0.bias"] + 0.01
    weights.write_with(copy, state, weights.own_header(header))
    assert not load(str(copy)).estimate


@pytest.mark.parametrize("wrapping", [None, *weights.WRAPPINGS])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_wrappings_and_prefixes_are_taken_off(
    wrapping: str | None, prefix: str, tmp_path: Path
) -> None:
    state = {f"{prefix}{key}": value for key, value in tiny_edsr().items()}
    path = tmp_path / "net.pth"
    torch.save({wrapping: state, "iter": 7, "optimizer": {"lr": 0.1}} if wrapping else state, path)
    assert recognise(path).state.keys() == tiny_edsr().keys()


def test_averaged_weights_are_preferred(tmp_path: Path) -> None:
    plain = tiny_edsr()
    averaged = {key: value + 1 for key, value in plain.items()}
    path = tmp_path / "net.pth"
    torch.save({"params": plain, "params_ema": averaged}, path)
    assert torch.equal(recognise(path).state["head.bias"], averaged["head.bias"])


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_that_were_saved_on_a_gpu_load_without_one(tmp_path: Path, legacy: bool) -> None:
    path = tmp_path / "net.pth"
    torch.save(
        dict(tiny_edsr()),
        path,
        _use_new_zipfile_serialization=not legacy,
    )
    # In the file a storage's place is a short text; "cpu" and "xpu" differ by what it says only.
    data = path.read_bytes()
    assert data.count(b"X\x03\x00\x00\x00cpu") > 0
    moved = data.replace(b"X\x03\x00\x00\x00cpu", b"X\x03\x00\x00\x00xpu")
    path.write_bytes(moved if legacy else restored(path, moved))
    assert torch.equal(recognise(path).state["head.bias"], tiny_edsr()["head.bias"])


def restored(path: Path, data: bytes) -> bytes:
    """A zip archive whose checksums fit its changed content again."""
    import io
    import zipfile

    changed = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(changed, "w") as new:
        for entry in old.infolist():
            content = old.read(entry).replace(b"X\x03\x00\x00\x00cpu", b"X\x03\x00\x00\x00xpu")
            new.writestr(entry, content)
    del data
    return changed.getvalue()


def tiny_edsr() -> dict[str, Tensor]:
    """Weights of a small network, the same every time."""
    torch.manual_seed(0)
    return registry.family("EDSR").build(scale=2, features=8, blocks=1).state_dict()


def test_what_appears_during_a_conversion_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "net.pth", tmp_path / "net.safetensors"
    torch.save(tiny_edsr(), source)
    monkeypatch.setattr(weights, "writable", lambda *_, **__: target.write_text("precious"))
    with pytest.raises(AppearedError):
        conversion.convert(source, target)
    assert target.read_text() == "precious"


def test_nothing_is_overwritten_unless_asked_for(tmp_path: Path) -> None:
    source, target = tmp_path / "net.pth", tmp_path / "net.safetensors"
    torch.save(tiny_edsr(), source)
    target.write_text("precious")
    with pytest.raises(ZooError, match="--overwrite"):
        conversion.convert(source, target)
    assert target.read_text() == "precious"
    conversion.convert(source, target, overwrite=True)
    with safe_open(str(target), "pt") as file:
        assert len(file.keys()) == len(tiny_edsr())


def test_a_failed_conversion_leaves_nothing_behind(tmp_path: Path) -> None:
    source = tmp_path / "net.pth"
    torch.save({"other": torch.zeros(3)}, source)
    with pytest.raises(ZooError, match="not of a network"):
        conversion.convert(source, tmp_path / "net.safetensors")
    with pytest.raises(ZooError, match=r"must end in \.safetensors"):
        conversion.convert(source, tmp_path / "net.pth")
    assert [path.name for path in tmp_path.iterdir()] == ["net.pth"]


def test_an_unknown_file_is_answered_with_the_nearest_family(tmp_path: Path) -> None:
    state = tiny_edsr()
    del state["last.weight"]
    path = tmp_path / "net.pth"
    torch.save(state, path)
    with pytest.raises(ZooError, match=r"EDSR is the nearest, for which it lacks last\.weight"):
        recognise(path)


def test_a_file_that_does_not_fit_says_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    state = tiny_edsr()
    torch.save({k: v for k, v in state.items() if k != "closing.bias"}, path)
    with pytest.raises(ZooError, match=r"does not fit EDSR: it lacks closing\.bias"):
        load(str(path))
    with pytest.raises(ZooError, match=r"net.pth does not fit EDSR: it lacks closing\.bias"):
        conversion.convert(path, tmp_path / "net.safetensors")
    assert [file.name for file in tmp_path.iterdir()] == ["net.pth"]
    torch.save(state | {"extra": torch.zeros(1)}, path)
    with pytest.raises(ZooError, match="it has extra beside"):
        load(str(path))
    torch.save(state | {"closing.bias": torch.zeros(5)}, path)
    with pytest.raises(ZooError, match=r"closing\.bias is of shape \(5,\), not \(8,\)"):
        load(str(path))
    torch.save({k: v.bool() for k, v in state.items()}, path)
    with pytest.raises(ZooError, match="holds bool, no fractions"):
        load(str(path))


def test_what_a_killed_conversion_left_is_swept_away(tmp_path: Path) -> None:
    source, target = tmp_path / "net.pth", tmp_path / "net.safetensors"
    torch.save(tiny_edsr(), source)
    (tmp_path / ".sr-cli-0123456789abcdef.partial").write_bytes(b"half of it")
    conversion.convert(source, target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.pth", "net.safetensors"]
