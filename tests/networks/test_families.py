"""What all families have in common, and what is particular to some of them."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from references import load, sources
from torch import Tensor
from toys import TOYS, toy

from sr_cli.networks import pdm, registry, unet_discriminator
from sr_cli.networks.dan import DAN
from sr_cli.networks.danv1 import DANv1
from sr_cli.networks.danv2 import DANv2
from sr_cli.networks.dmsr import DMSR, convolve_each_pixel
from sr_cli.networks.dssr import DSSR, shrink_corner_to_corner
from sr_cli.networks.edsr import EDSR
from sr_cli.networks.keys import rename
from sr_cli.networks.registry import FAMILIES, family, nearest, recognise
from sr_cli.networks.rrdb import RRDBNet
from sr_cli.networks.stages import positions
from sr_cli.networks.unet_discriminator import UNetDiscriminator
from sr_cli.networks.variants import with_iterations

PUBLISHED = {
    "realdan-x4": "DAN",
    "realdan-rrdb-x4": "DAN",
    "danv1-x3-setting1": "DANv1",
    "danv2-x4-setting2": "DANv2",
    "dssr-x3": "DSSR",
    "edsr-baseline-x4": "EDSR",
    "rrdb-x4": "RRDB",
}
HELPERS = [
    (pdm.convert_published, pdm.detect),
    (pdm.convert_published_discriminator, pdm.detect_discriminator),
    (unet_discriminator.convert_published, unet_discriminator.detect),
]
"""Networks that help to train others: not in the registry."""


def claimants(state: dict[str, Tensor]) -> list[object]:
    """Everything that takes a state dict for its own."""
    found: list[object] = [f.name for f in FAMILIES if f.detect(f.convert(state)) is not None]
    return found + [detect for convert, detect in HELPERS if detect(convert(state)) is not None]


@pytest.mark.parametrize("name", TOYS)
def test_options_are_deduced_from_our_own_keys(name: str) -> None:
    expected, given = TOYS[name]
    network = toy(name)
    found, options, state = recognise(network.state_dict())
    assert found.name == expected
    # Weights do not tell how often they are used.
    assert given.items() - {("iterations", given.get("iterations"))} <= options.items()
    rebuilt = found.build(**options | given)
    rebuilt.load_state_dict(state, strict=True)


@pytest.mark.parametrize("name", TOYS)
def test_our_own_keys_belong_to_one_family_and_pass_its_converter(name: str) -> None:
    state = toy(name).state_dict()
    expected = family(TOYS[name][0])
    assert claimants(state) == [expected.name]
    assert list(expected.convert(state)) == list(state)


def test_a_key_is_renamed_once_by_the_first_rule_that_fits() -> None:
    rules = ((r"^head\.0\.", "tail.0."), (r"^tail\.0\.", "last."), (r"^last\.", "none."))
    state = {key: torch.zeros(1) for key in ("head.0.bias", "tail.0.bias", "body.bias")}
    renamed = rename(state, rules)
    assert list(renamed) == ["tail.0.bias", "last.bias", "body.bias"]
    assert all(a is b for a, b in zip(renamed.values(), state.values(), strict=True))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_keys_belong_to_one_family(name: str) -> None:
    state = load(sources(name)[0].values[0]).state
    assert claimants(state) == [PUBLISHED[name]]


@pytest.mark.parametrize(
    ("name", "helper"),
    [
        ("pdm-2020track1", 0),
        ("pdm-2017track1", 0),
        ("pdm-patchgan", 1),
        ("realesrgan-unet-discriminator", 2),
    ],
)
def test_what_helps_to_train_is_no_super_resolver(name: str, helper: int) -> None:
    state = load(sources(name)[0].values[0]).state
    assert claimants(state) == [HELPERS[helper][1]]
    with pytest.raises(KeyError):
        recognise(state)


@pytest.mark.parametrize("name", TOYS)
@pytest.mark.parametrize("shape", [(1, 3, 11, 14), (2, 3, 9, 7)])
def test_outputs_have_the_shapes_that_are_promised(name: str, shape: tuple[int, ...]) -> None:
    network = toy(name)
    with torch.inference_mode():
        sr, vector = network(torch.rand(shape))
    count, _, height, width = shape
    assert sr.shape == (count, 3, height * network.scale, width * network.scale)
    estimates = family(TOYS[name][0]).estimates
    if estimates is None:
        assert vector is None
    else:
        assert vector is not None and vector.ndim == 2 and len(vector) == count
    if estimates == "kernel":
        torch.testing.assert_close(vector.sum(1), torch.ones(count))


@pytest.mark.parametrize("name", TOYS)
def test_a_network_can_be_built_without_memory(name: str) -> None:
    family_name, options = TOYS[name]
    with torch.device("meta"):
        network = family(family_name).build(**options)
    assert all(tensor.is_meta for tensor in network.state_dict().values())


@pytest.mark.parametrize("name", TOYS)
def test_every_parameter_is_used(name: str) -> None:
    network = toy(name).train()
    sr, vector = network(torch.rand(2, 3, 16, 12))
    (sr.sum() + (0 if vector is None else vector.sum())).backward()
    assert [key for key, p in network.named_parameters() if p.grad is None] == []


def test_a_missing_key_is_named_with_the_nearest_family() -> None:
    state = toy("danv2-x4").state_dict()
    del state["initial_kernel"]
    found, missing = nearest(state)
    assert (found.name, missing) == ("DANv2", ["initial_kernel"])


def test_nothing_is_near_to_what_is_no_super_resolver() -> None:
    found, missing = nearest({"transformer.layers.0.attention.weight": torch.zeros(2)})
    assert missing == list(found.needed)


def test_a_new_network_takes_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nearest(torch.nn.Module):
        def __init__(self, scale: int = 2) -> None:
            super().__init__()
            self.scale = scale
            self.gain = torch.nn.Parameter(torch.ones(()))

    toy_family = replace(
        family("EDSR"),
        name="Nearest",
        build=Nearest,
        detect=lambda state: {"scale": 2} if "gain" in state else None,
        convert=dict,
        needed=("gain",),
    )
    monkeypatch.setattr(registry, "FAMILIES", (*FAMILIES, toy_family))
    found, options, state = recognise(Nearest().state_dict())
    assert found is toy_family
    found.build(**options).load_state_dict(state)


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
def test_the_scale_is_deduced_from_the_tail(scale: int) -> None:
    for small in (DAN(scale=scale, features=8, blocks=2), EDSR(scale, features=8, blocks=2)):
        assert recognise(small.state_dict())[1]["scale"] == scale


@pytest.mark.parametrize("network", [DAN, DANv1, DANv2, DSSR])
def test_no_iterations_are_refused(network: type[DAN | DANv1 | DANv2 | DSSR]) -> None:
    with pytest.raises(ValueError, match="iterations"):
        network(iterations=0)


def test_scales_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="scale"):
        RRDBNet(scale=3)
    with pytest.raises(ValueError, match="scale"):
        DSSR(scale=8)
    with pytest.raises(ValueError, match="scale"):
        EDSR(scale=6)


OLD_ESRGAN = {
    "in words": (
        (r"^body\.(\d+)\.rdb(\d)", r"RRDB_trunk.\1.RDB\2"),
        (r"^conv_body", "trunk_conv"),
        (r"^conv_up", "upconv"),
        (r"^conv_hr", "HRconv"),
    ),
    "in numbers": (
        (r"^conv_first", "model.0"),
        (r"^body\.(\d+)\.rdb(\d)\.conv(\d)", r"model.1.sub.\1.RDB\2.conv\3.0"),
        (r"^conv_body", "model.1.sub.23"),
        (r"^conv_up1", "model.3"),
        (r"^conv_up2", "model.6"),
        (r"^conv_hr", "model.8"),
        (r"^conv_last", "model.10"),
    ),
}


@pytest.mark.parametrize("style", OLD_ESRGAN)
def test_older_styles_of_keys_give_the_same_rrdb_network(style: str) -> None:
    new = load(sources("rrdb-x4")[0].values[0]).state
    old = {}
    for key, tensor in new.items():
        for pattern, replacement in OLD_ESRGAN[style]:
            key = re.sub(pattern, replacement, key)
        old[key] = tensor
    found, options, state = recognise(old)
    _, expected, same = recognise(new)
    assert (found.name, options) == ("RRDB", expected)
    assert state.keys() == same.keys() and all(state[key] is same[key] for key in state)


def test_an_old_rrdb_network_for_twice_the_size_is_recognised() -> None:
    ours = RRDBNet(scale=2, features=8, blocks=1, growth=4)
    names = {"head": 0, "ups.0": 3, "refine": 5, "last": 7}
    old = {}
    for key, tensor in ours.state_dict().items():
        layer, _, kind = key.rpartition(".")
        if layer in names:
            key = f"model.{names[layer]}.{kind}"
        elif layer == "closing":
            key = f"model.1.sub.1.{kind}"
        else:
            key = re.sub(r"body\.0\.rdb(\d)\.conv(\d)", r"model.1.sub.0.RDB\1.conv\2.0", key)
        old[key] = tensor
    _, options, state = recognise(old)
    assert options["scale"] == 2
    ours.load_state_dict(state, strict=True)


def test_edsr_is_the_twin_of_dan() -> None:
    """With DAN's weights in the body, it is what DAN's Restorer makes of the same feature."""
    dan, twin = toy("dan"), toy("edsr")
    assert isinstance(dan, DAN) and isinstance(twin, EDSR)
    twin.body.load_state_dict(dan.restorer.body.state_dict())
    feature = torch.rand(1, 8, 9, 9)
    assert torch.equal(twin.body(feature), dan.restorer.body(feature))


def test_untrained_networks_take_the_published_mean_colour_off() -> None:
    published = load(sources("kerneldan-x2")[0].values[0]).state["mean"]
    assert torch.equal(DAN(features=8, blocks=1).mean, published)
    assert torch.equal(EDSR(features=8, blocks=1).colours.mean, published)


@pytest.mark.parametrize(("scale", "parameters"), [(2, 7_895_208), (3, 8_079_848), (4, 8_338_344)])
def test_dmsr_has_as_many_parameters_as_its_tables_say(scale: int, parameters: int) -> None:
    with torch.device("meta"):
        network = DMSR(scale)
    extractor = sum(p.numel() for p in network.extractor.parameters())
    assert extractor == 484_516
    assert sum(p.numel() for p in network.parameters()) - extractor == parameters


def test_a_convolution_with_one_kernel_for_all_pixels_is_a_convolution() -> None:
    x, kernel = torch.rand(2, 3, 8, 9), torch.rand(1, 1, 5, 5)
    expected = torch.nn.functional.conv2d(x.flatten(0, 1)[:, None], kernel, padding=2).view_as(x)
    same = convolve_each_pixel(x, kernel.view(1, 25, 1, 1).expand(2, -1, 8, 9))
    torch.testing.assert_close(same, expected)


def test_the_meta_deblur_module_starts_from_unit_pulses() -> None:
    bias = DMSR(features=16, groups=1, blocks=1).deblur.weights.bias
    assert bias is not None
    assert bias.argmax() == 112 and bias[112] > 0.9 and (bias.abs() < 0.1).sum() == 224


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("shape", [(13, 8), (1, 5), (2, 2)])
def test_corner_to_corner_is_what_torch_does(scale: int, shape: tuple[int, int]) -> None:
    x = torch.rand(2, 4, *(scale * side for side in shape))
    expected = torch.nn.functional.interpolate(x, shape, mode="bicubic", align_corners=True)
    found = shrink_corner_to_corner(x, positions(x[..., ::scale, ::scale]), scale)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_dssr_is_the_mean_of_its_steps() -> None:
    network = toy("dssr-x2")
    assert isinstance(network, DSSR)
    lr = torch.rand(1, 3, 9, 12)
    with torch.inference_mode():
        pictures = torch.stack([sr for _, sr in network.iterate(lr)])
        torch.testing.assert_close(network(lr)[0], pictures.mean(0), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["danv1-x2", "danv2-x2"])
def test_each_module_of_an_alternation_learns_from_its_own_loss(name: str) -> None:
    network = toy(name)
    assert isinstance(network, DANv1 | DANv2)
    for output, learns, rests in ((0, "restorer", "estimator"), (1, "estimator", "restorer")):
        network.zero_grad()
        *_, last = network.iterate(torch.rand(1, 3, 10, 10))
        last[output].square().sum().backward()
        assert all(p.grad is not None for p in getattr(network, learns).parameters())
        assert all(p.grad is None for p in getattr(network, rests).parameters())


@pytest.mark.parametrize("iterations", [1, 3])
def test_a_dan_says_the_same_with_and_without_its_picture(iterations: int) -> None:
    torch.manual_seed(0)
    network = DAN(features=8, blocks=2, iterations=iterations).eval()
    lr = torch.rand(2, 3, 18, 13)
    with torch.inference_mode():
        assert torch.equal(network.vector(lr), network(lr)[1])
        assert torch.equal(network.estimate(lr), with_iterations(network, 1)(lr)[1])


def test_the_traces_that_a_dan_estimates_from_are_not_rounded_by_autocast() -> None:
    network = toy("dan")
    assert isinstance(network, DAN)
    lr = torch.rand(1, 3, 10, 12)
    right, _ = network.head(lr)
    with torch.autocast("cpu", torch.bfloat16):
        feature, degradation = network.head(lr)
    assert torch.equal(feature, right) and degradation.dtype is torch.bfloat16


def test_a_dan_restores_with_one_vector_for_all_pictures() -> None:
    network = toy("dan")
    assert isinstance(network, DAN)
    lr, vector = torch.rand(3, 3, 10, 12), torch.rand(1, 6)
    with torch.inference_mode():
        same = network.restore(lr, vector.expand(3, -1))
        torch.testing.assert_close(network.restore(lr, vector), same)
        assert not torch.equal(network.restore(lr, 1 - vector), same)


def test_each_module_of_a_dan_learns_from_its_own_loss() -> None:
    network = toy("dan")
    assert isinstance(network, DAN)
    described = (network.estimator, network.degradation_head, network.degradation_tail)
    restored = (network.restorer, network.image_tail)
    for output, learn, rest in ((0, restored, described), (1, described, restored)):
        network.zero_grad()
        network(torch.rand(1, 3, 10, 10))[output].square().sum().backward()
        assert all(p.grad is not None for module in learn for p in module.parameters())
        assert all(p.grad is None for module in rest for p in module.parameters())


def test_the_first_code_is_that_of_a_kernel_that_does_not_blur() -> None:
    network = toy("danv2-x2")
    assert isinstance(network, DANv2)
    assert torch.equal(network.initial_code[0], network.encoder[0, 12])


def test_an_untrained_pdm_blurs_almost_evenly_and_adds_no_noise() -> None:
    network = pdm.PDM(kernel_size=5, kernel_blocks=2, noise_blocks=2, noise_spatial=True).eval()
    hr = torch.rand(2, 3, 24, 20)
    lr, kernel, noise = network(hr, *network.draw(hr))
    assert lr.shape == (2, 3, 6, 5) and noise is not None and not noise.any()
    # A softmax of one at the centre and zero elsewhere.
    centre = torch.e / (torch.e + 24)
    torch.testing.assert_close(kernel[:, 2, 2], torch.full((2,), centre))
    torch.testing.assert_close(kernel.sum((1, 2)), torch.ones(2))


@pytest.mark.parametrize("spatial", [False, True])
def test_numbers_of_a_pdm_are_drawn_repeatably(spatial: bool) -> None:
    network = pdm.PDM(kernel_blocks=1, noise_blocks=1, noise_spatial=spatial)
    hr = torch.rand(2, 3, 44, 30)
    one = network.draw(hr, torch.Generator().manual_seed(1))
    other = network.draw(hr, torch.Generator().manual_seed(1))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert one[1].shape == ((2, 3, 11, 8) if spatial else (2, 3, 1, 1))


def test_soft_rounding_is_near_to_rounding_between_two_steps() -> None:
    x = torch.tensor([3.2, 7.8, -1.3])
    torch.testing.assert_close(pdm.soft_round(x), x.round(), atol=0.1, rtol=0)


def test_training_a_unet_discriminator_bounds_its_convolutions() -> None:
    network = UNetDiscriminator(features=8)
    with torch.no_grad():
        network.refine[0].parametrizations.weight.original.mul_(100)
        for _ in range(50):
            network(torch.rand(1, 3, 16, 16))
        norm = torch.linalg.matrix_norm(network.refine[0].weight.flatten(1), 2)
    assert float(norm) == pytest.approx(1, abs=0.01)
