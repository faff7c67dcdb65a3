"""The manifest is valid, complete, and says what is wrong with a damaged one."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from sr_cli.degradation.layout import TWO_STAGE, blur_layout
from sr_cli.networks.registry import family
from sr_cli.zoo import manifest
from sr_cli.zoo.manifest import DEFAULT_MODEL, Model, ZooError
from sr_cli.zoo.schema import SCHEMA_VERSION, problems

MODELS = manifest.manifest()


def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(manifest._text())
    return found


def test_the_manifest_is_valid() -> None:
    assert problems(document()) == []
    assert DEFAULT_MODEL in MODELS


@pytest.mark.parametrize(
    ("group", "scales"),
    [
        *(("dan-real", "4"), ("dan-real-gan", "4"), ("dan-blur", "24"), ("danv1-iso", "234")),
        *(("danv1-aniso", "24"), ("danv2-iso", "234"), ("danv2-aniso", "24")),
        *(("dssr-iso", "234"), ("dssr-aniso", "24"), ("dmsr", "234"), ("dmsr-nf", "234")),
        *(("pdm-sr", "4"), ("pdm-srgan", "4"), ("edsr-blur", "24")),
    ],
)
def test_every_model_of_the_papers_is_listed(group: str, scales: str) -> None:
    for scale in scales:
        assert MODELS[f"{group}-x{scale}"].scale == int(scale)


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.name)
def test_an_entry_says_what_its_network_is(model: Model) -> None:
    with torch.device("meta"):
        network = family(model.network).build(**model.options)
    assert network.scale == model.scale
    stages = network.stages()
    averages = any(stage.kind == "mean" for stage in stages)
    assert model.tiling == ("blended" if not stages else "exact" if averages else "local")
    size = model.options.get("degradation_size", 0)
    assert size == {"two-stage": 42, "blur": 8, None: 0}[model.degradation]
    assert model.paper.figures


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.name)
def test_ranges_are_those_of_the_layout(model: Model) -> None:
    layouts = {"two-stage": TWO_STAGE, "blur": blur_layout(5)}
    if model.degradation is None:
        assert not any("." in key for key in model.ranges)
        return
    parameters = {p.key: p for p in layouts[model.degradation].parameters}
    for key, (low, high) in model.ranges.items():
        if "." in key:
            assert (low, high) == pytest.approx(
                (parameters[key].low, parameters[key].high), abs=1e-3
            )


def test_names_take_wildcards() -> None:
    assert [model.name for model in manifest.matching("dan-blur*")] == [
        "dan-blur-x2",
        "dan-blur-x4",
    ]
    assert len(manifest.matching("*-x3")) == 5
    assert manifest.matching("kerneldan-x2") == [MODELS["dan-blur-x2"]]
    assert manifest.matching("resnet*") == []


def test_an_alias_finds_its_model() -> None:
    assert manifest.find("realdan-x4") is MODELS["dan-real-x4"]


def changed(change: Callable[[dict[str, Any]], object]) -> list[str]:
    """What is wrong with the manifest after a change of its first entry."""
    damaged = copy.deepcopy(document())
    change(damaged["models"][0])
    return problems(damaged)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda m: m.pop("scale"), "models['dan-real-x4'].scale is missing"),
        (lambda m: m.update(scale="4"), "scale is '4', not a whole number from 1"),
        (lambda m: m.update(scale=True), "scale is True, not a whole number from 1"),
        (lambda m: m.update(scale=2), "scale is 2, but options.scale is another"),
        (lambda m: m.update(licenze="MIT"), "licenze is unknown; did you mean 'licence'?"),
        (lambda m: m.update(tiling="sharp"), "tiling is 'sharp', not one of 'exact', 'local'"),
        (lambda m: m.update(degradation="jpeg"), "degradation is 'jpeg', not one of 'two-stage'"),
        (lambda m: m.update(purpose=" "), "purpose is ' ', not a text"),
        (lambda m: m.update(purpose=5), "purpose is 5, not a text"),
        (lambda m: m.update(name="DAN x4"), "not a name of small letters"),
        (lambda m: m["weights"].update(sha256="12"), "weights.sha256 is '12', not a sha256"),
        (lambda m: m["weights"].update(bundled=None), "neither bundled nor on the Hub"),
        (
            lambda m: m["weights"].update(hub={"repo": "a/b", "file": "c", "revision": "main"}),
            "weights.hub.revision is 'main', not a full commit",
        ),
        (lambda m: m["weights"].update(bundled="../x.pth"), "not a .safetensors file name"),
        (lambda m: m.update(licence=None), "licence and authors are missing"),
        (lambda m: m.update(weights=None), "licence is of weights, of which there are none"),
        (lambda m: m["ranges"].update(noise=[3, 1]), "ranges.noise is [3, 1], which ends before"),
        (lambda m: m["ranges"].update(noise=[3]), "ranges.noise is [3], not a pair of numbers"),
        (lambda m: m["figures"][0].update(date="today"), "figures[0].date is 'today', not a date"),
        (lambda m: m["figures"][0].update(psnr_y="25"), "figures[0].psnr_y is '25', not a number"),
        (lambda m: m["estimate"]["final.omega"].pop("error"), "final.omega.error is missing"),
        (lambda m: m["paper"].update(url="ftp://x"), "paper.url is 'ftp://x', not an https"),
        (lambda m: m.update(aliases=["dan-blur-x2"]), "is called 'dan-blur-x2', which"),
        (lambda m: m.update(aliases="x"), "aliases is 'x', not a list"),
        (lambda m: m.update(options=[]), "options is [], not an object"),
    ],
)
def test_a_mistake_is_told_with_its_place(
    change: Callable[[dict[str, Any]], object], complaint: str
) -> None:
    found = changed(change)
    assert any(complaint in one for one in found), found
    assert all("dan-real-x4" in one or "DAN x4" in one for one in found[:1])


def test_what_is_no_manifest_is_refused_in_a_sentence() -> None:
    with pytest.raises(ZooError, match="version 99; this program reads version 2"):
        manifest.parse('{"version": 99, "models": []}')
    with pytest.raises(ZooError, match=r"damaged: .* correct that; reinstalling sr-cli"):
        manifest.parse("{")
    with pytest.raises(ZooError, match=re.escape("models[0].name is missing (and 17 more")):
        manifest.parse(f'{{"version": {SCHEMA_VERSION}, "models": [{{}}]}}')
    with pytest.raises(ZooError, match="the manifest is 3, not an object"):
        manifest.parse("3")
