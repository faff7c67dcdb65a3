"""Both ways between spandrel and us, with the real spandrel where it is installed."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from sr_cli.integrations import spandrel as bridge
from sr_cli.networks import registry
from sr_cli.networks.registry import FAMILIES
from sr_cli.zoo import compact, weights
from sr_cli.zoo.loading import load
from sr_cli.zoo.manifest import ZooError
from tests.conftest import Outcome, scene

Program = Callable[..., Outcome]

SMALL: dict[str, dict[str, Any]] = {
    "DAN": {"features": 8, "blocks": 2},
    "DANv1": {"features": 32, "blocks": 2, "estimator_blocks": 1},
    "DANv2": {"features": 8, "groups": 1, "group_blocks": 2},
    "DMSR": {"features": 16, "groups": 1, "blocks": 1},
    "DSSR": {"features": 8, "blocks": 1, "refine_blocks": 1},
    "EDSR": {"features": 8, "blocks": 1},
    "RRDB": {"features": 8, "blocks": 1, "growth": 4},
}


@pytest.fixture(scope="module")
def spandrel() -> ModuleType:
    if importlib.util.find_spec("spandrel") is None:
        pytest.skip("spandrel is not installed")
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        # A torchvision built for CUDA beside a torch built without: its compiled operators do not
        # load.  spandrel's networks use none of them, so that they are declared is enough.
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return bridge._import()


def test_without_spandrel_a_user_is_told_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(ZooError, match=r"pip install 'sr-cli\[spandrel\]'"):
        bridge.install()
    path = tmp_path / "net.pth"
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(ZooError, match=r"not of a network of this .*'sr-cli\[spandrel\]'"):
        load(str(path))


def test_files_in_eight_bits_are_told_apart_by_their_keys_too() -> None:
    state = registry.family("DAN").build(features=32, blocks=2).state_dict()
    packed = compact.packed(state)
    assert len(packed) > len(state)
    families = [family for family in FAMILIES if bridge._detector(family)(packed)]
    assert [family.name for family in families] == ["DAN"]
    odd = {name: value for name, value in packed.items() if name not in state}
    assert not any(bridge._detector(family)(odd) for family in FAMILIES)


@pytest.mark.parametrize("eight_bits", [False, True])
@pytest.mark.parametrize("network", SMALL)
def test_spandrel_reads_our_files(
    spandrel: ModuleType, network: str, tmp_path: Path, eight_bits: bool
) -> None:
    bridge.install()
    ours = registry.family(network).build(**SMALL[network]).eval()
    path = tmp_path / "net.safetensors"
    state = ours.state_dict()
    if eight_bits:
        weights.write_compact(path, state, network, SMALL[network])
        ours.load_state_dict(weights.read(path)[0])
    else:
        weights.write_exact(path, state, network, SMALL[network])
    descriptor = spandrel.ModelLoader().load_from_file(path)
    assert descriptor.architecture.id == f"sr-cli-{network}"
    assert (descriptor.scale, descriptor.purpose) == (4, "SR")
    picture = torch.rand(1, 3, 12, 16)
    with torch.inference_mode():
        assert torch.equal(descriptor(picture), ours(picture)[0].clamp(0, 1))


def test_installing_again_changes_nothing(spandrel: ModuleType) -> None:
    bridge.install()
    before = [support.architecture.id for support in spandrel.MAIN_REGISTRY]
    assert bridge.install() == []
    assert [support.architecture.id for support in spandrel.MAIN_REGISTRY] == before


def others(spandrel: ModuleType) -> dict[str, nn.Module]:
    """Small networks that are spandrel's and not ours."""
    from spandrel.architectures import SPAN, Compact, SwinIR

    return {
        "Compact": Compact.Compact(num_feat=8, num_conv=2, upscale=2),
        "SPAN": SPAN.SPAN(num_in_ch=3, num_out_ch=3, feature_channels=8, upscale=2),
        "SwinIR": SwinIR.SwinIR(
            **{"img_size": 16, "window_size": 8, "depths": [2], "embed_dim": 12, "num_heads": [2]},
            **{"mlp_ratio": 2, "upscale": 2, "upsampler": "pixelshuffledirect"},
        ),
    }


@pytest.mark.parametrize("name", ["Compact", "SPAN", "SwinIR"])
def test_networks_of_spandrel_enlarge_pictures(
    spandrel: ModuleType, program: Program, name: str, tmp_path: Path
) -> None:
    path = tmp_path / f"{name}.pth"
    torch.save({"params": others(spandrel)[name].state_dict()}, path)
    loaded = load(str(path))
    assert isinstance(loaded.network, bridge.SpandrelNetwork)
    assert (loaded.scale, loaded.layout, loaded.network.stages()) == (2, None, ())
    Image.fromarray(scene(19, 23)).save(tmp_path / "photo.png")
    done = program("upscale", tmp_path / "photo.png", "--model", path, "--precision", "fp32")
    assert done.status == 0, done.err
    assert Image.open(tmp_path / "photo_x2.png").size == (46, 38)
    refused = program("estimate-degradation", tmp_path / "photo.png", "--model", path)
    assert refused.status == 1 and "does not estimate" in refused.err


def test_esrgan_files_are_ours_here_and_stay_spandrels_there(
    spandrel: ModuleType, tmp_path: Path
) -> None:
    from spandrel.architectures import ESRGAN

    path = tmp_path / "esrgan.pth"
    state = ESRGAN.ESRGAN(num_filters=8, num_blocks=1, scale=4).state_dict()
    torch.save(state, path)
    bridge.install()
    theirs = spandrel.ModelLoader().load_from_file(path)
    assert theirs.architecture.id == "ESRGAN"
    ours = load(str(path)).network
    picture = torch.rand(1, 3, 12, 16)
    with torch.inference_mode():
        assert torch.allclose(theirs(picture), ours(picture)[0].clamp(0, 1), atol=1e-6)


def test_a_network_for_gray_pictures_is_refused(spandrel: ModuleType, tmp_path: Path) -> None:
    from spandrel.architectures import Compact

    path = tmp_path / "gray.pth"
    network = Compact.Compact(num_in_ch=1, num_out_ch=1, num_feat=8, num_conv=2, upscale=2)
    torch.save(network.state_dict(), path)
    with pytest.raises(ZooError, match="does not turn one RGB picture into another"):
        load(str(path))


def test_what_spandrel_does_not_know_either_is_told(spandrel: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(ZooError, match="not of a network of this program"):
        load(str(path))
