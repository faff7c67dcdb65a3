"""Every network computes what the published implementation of it computes, from its checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from references import Reference, load, sources
from torch import Tensor, nn

from sr_cli.networks import pdm, unet_discriminator
from sr_cli.networks.dan import DAN
from sr_cli.networks.danv1 import DANv1
from sr_cli.networks.danv2 import DANv2
from sr_cli.networks.dssr import DSSR
from sr_cli.networks.registry import recognise
from sr_cli.networks.rrdb import RRDBNet
from sr_cli.networks.stages import SuperResolver

DANS = sources("realdan-x4", "realdan-rrdb-x4", "kerneldan-x2", "kerneldan-x4")
DANV1 = sources(*(f"danv1-{k}" for k in ("x2-setting1", "x2-setting2", "x3-setting1")))
DANV1 += sources("danv1-x4-setting1", "danv1-x4-setting2")
DANV2 = sources(*(f"danv2-{k}" for k in ("x2-setting1", "x2-setting2", "x3-setting1")))
DANV2 += sources("danv2-x4-setting1", "danv2-x4-setting2")
DSSRS = sources("dssr-x2", "dssr-x3", "dssr-x4")
KERNEL_PREDICTORS = {"input_para": "code_size", "kernel_size": "kernel_size", "loop": "iterations"}


def check(
    reference: Reference,
    network: nn.Module,
    outputs: Callable[..., dict[str, Tensor]],
    tolerance: float = 1e-5,
) -> None:
    """The number of parameters is exact, and so are all outputs up to the order of additions."""
    assert sum(p.numel() for p in network.parameters()) == reference.info["parameters"]
    for name, inputs in reference.cases():
        with torch.inference_mode():
            error = reference.largest_error(name, outputs(**inputs))
        assert error <= tolerance, name


def recognised(reference: Reference, name: str) -> tuple[SuperResolver, dict[str, Any]]:
    """The network that a checkpoint belongs to, found from its keys alone."""
    family, options, state = recognise(reference.state)
    assert family.name == name
    network = family.build(**options).eval()
    network.load_state_dict(state, strict=True)
    return network, options


@pytest.mark.parametrize("path", sources("edsr-baseline-x4"))
def test_edsr(path: Path) -> None:
    reference = load(path)
    network, options = recognised(reference, "EDSR")
    assert options == {
        "scale": reference.options["upscale"],
        "features": reference.options["nf"],
        "blocks": reference.options["nb"],
        "residual_scale": reference.options["res_scale"],
        "style": "published",
    }
    check(reference, network, lambda lr: {"sr": network(lr)[0]})


@pytest.mark.parametrize("path", sources("rrdb-x4"))
def test_rrdb(path: Path) -> None:
    reference = load(path)
    network, options = recognised(reference, "RRDB")
    assert options == {
        "scale": reference.options["upscale"],
        "features": reference.options["nf"],
        "blocks": reference.options["nb"],
        "growth": reference.options["gc"],
        "unshuffle": 1,
    }
    check(reference, network, lambda lr: {"sr": network(lr)[0]})


@pytest.mark.parametrize("path", DANS)
def test_dan(path: Path) -> None:
    reference = load(path)
    network, options = recognised(reference, "DAN")
    assert isinstance(network, DAN)
    assert options == {
        "scale": reference.options["scale"],
        "degradation_size": reference.options["deg_dim"],
        "features": reference.options["nf"],
        "blocks": reference.options["nb"],
        "block": reference.options["block"],
        "estimator": reference.options["est_size"],
        "iterations": reference.options["loop"],
    }
    between: list[Tensor] = []
    network.estimator.register_forward_hook(lambda _m, _i, out: between.append(out))
    network.restorer.register_forward_hook(lambda _m, _i, out: between.append(out))

    def outputs(lr: Tensor) -> dict[str, Tensor]:
        between.clear()
        sr, vector = network(lr)
        found = {"sr": sr, "deg": vector}
        for i in range(network.iterations):
            found[f"est{i}"] = between[2 * i].mean((2, 3), keepdim=True)
            found[f"res_mean{i}"] = between[2 * i + 1].mean(1, keepdim=True)
        return found

    check(reference, network, outputs)


@pytest.mark.parametrize(("network", "name"), [(DAN, "realdan-x4"), (RRDBNet, "rrdb-x4")])
def test_networks_without_options_are_the_published_ones(
    network: type[DAN | RRDBNet], name: str
) -> None:
    info = load(sources(name)[0].values[0]).info
    with torch.device("meta"):
        made = network()
    assert made.scale == 4
    assert sum(p.numel() for p in made.parameters()) == info["parameters"]
    assert getattr(made, "iterations", None) == info["hyperparameters"].get("loop")


@pytest.mark.parametrize("path", DANV1)
def test_danv1(path: Path) -> None:
    reference = load(path)
    network, options = recognised(reference, "DANv1")
    assert isinstance(network, DANv1)
    assert options["scale"] == reference.options["upscale"]
    assert options["blocks"] == reference.options["nb"]
    assert options["features"] == reference.options["nf"]
    for theirs, ours in KERNEL_PREDICTORS.items():
        assert options[ours] == reference.options[theirs]

    def outputs(lr: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for i, (sr, code) in enumerate(network.iterate(lr)):
            found |= {f"sr{i}": sr, f"code{i}": code}
        return found

    check(reference, network, outputs)


@pytest.mark.parametrize("path", DANV2)
def test_danv2(path: Path) -> None:
    reference = load(path)
    network, options = recognised(reference, "DANv2")
    assert isinstance(network, DANv2)
    assert options["scale"] == reference.options["upscale"]
    assert options["groups"] == reference.options["ng"]
    assert options["group_blocks"] == reference.options["nb"]
    assert options["features"] == reference.options["nf"]
    for theirs, ours in KERNEL_PREDICTORS.items():
        assert options[ours] == reference.options[theirs]

    def outputs(lr: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for i, (sr, kernel) in enumerate(network.iterate(lr)):
            found |= {f"sr{i}": sr, f"kernel{i}": kernel, f"code{i}": network.encode(kernel)}
        return found

    check(reference, network, outputs)


@pytest.mark.parametrize("path", DSSRS)
def test_dssr(path: Path) -> None:
    reference = load(path)
    network, options = recognised(reference, "DSSR")
    assert isinstance(network, DSSR)
    assert options == {
        "scale": reference.options["scale"],
        "features": reference.options["inChannels"],
        "blocks": reference.options["feat_blocks"],
        "refine_blocks": reference.options["refine_blocks"],
        "iterations": reference.options["num_steps"],
    }

    def outputs(lr: Tensor) -> dict[str, Tensor]:
        found = {"out": network(lr)[0]}
        for i, (detail, sr) in enumerate(network.iterate(lr)):
            found |= {f"detail{i}": detail, f"sr{i}": sr}
        return found

    check(reference, network, outputs)


@pytest.mark.parametrize("path", sources("pdm-2017track1", "pdm-2018track4", "pdm-2020track1"))
def test_pdm(path: Path) -> None:
    reference = load(path)
    state = pdm.convert_published(reference.state)
    options = pdm.detect(state)
    assert options is not None
    kernel, noise = reference.options["kernel_opt"], reference.options["noise_opt"]
    expected = {
        "scale": reference.options["scale"],
        "kernel_size": kernel["ksize"],
        "kernel_numbers": kernel["nc"],
        "kernel_blocks": kernel["nb"],
        "features": kernel["nf"],
        "noise_numbers": 0,
    }
    if noise:
        expected |= {
            "noise_numbers": noise["nc"],
            "noise_outputs": noise["dim"],
            "noise_mix": noise["mix"],
            "noise_spatial": noise.get("spatial", False),
            "noise_blocks": noise["nb"],
            "noise_features": noise["nf"],
        }
    assert options == expected
    network = pdm.PDM(**options).eval()
    network.load_state_dict(state, strict=True)

    def outputs(hr: Tensor, zk: Tensor, zn: Tensor | None = None) -> dict[str, Tensor]:
        lr, kernels, added = network(hr, zk, network.draw(hr)[1] if zn is None else zn)
        found = {"lr": lr, "kernel": kernels.squeeze(0)}
        return found if added is None else found | {"noise": added}

    # Soft rounding is up to ten times as steep as what it rounds.
    check(reference, network, outputs, tolerance=1e-5 if noise else 1e-4)


@pytest.mark.parametrize("path", sources("pdm-patchgan", "pdm-patchgan-s1"))
def test_patchgan(path: Path) -> None:
    reference = load(path)
    state = pdm.convert_published_discriminator(reference.state)
    options = pdm.detect_discriminator(state)
    assert options is not None
    network = pdm.PatchGAN(**options | {"stride": reference.options["stride"]}).eval()
    network.load_state_dict(state, strict=True)
    check(reference, network, lambda x: {"logits": network(x)})
    # What comes before a normalisation has no effect on what comes behind it.
    assert torch.equal(network.layers[1].bias, reference.state["model.2.bias"])


@pytest.mark.parametrize("path", sources("realesrgan-unet-discriminator"))
def test_unet_discriminator(path: Path) -> None:
    reference = load(path)
    state = unet_discriminator.convert_published(reference.state)
    options = unet_discriminator.detect(state)
    assert options == {"features": reference.options["num_feat"]}
    network = unet_discriminator.UNetDiscriminator(**options).eval()
    network.load_state_dict(state, strict=True)
    check(reference, network, lambda x: {"logits": network(x)})
