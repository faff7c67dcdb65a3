"""What a run is measured on."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sr_cli.degradation.blur_only import BlurModel
from tests.training.conftest import one_picture
from training.corpus import Corpus
from training.degradations import BlurDegrader, Degrader, degrader
from training.held_out import degraded
from training.initial import build_network
from training.losses.objective import Truth
from training.recipe import load_recipe
from training.schema import Validation
from training.validation import ValidationSet


def measured(corpus: Corpus, model: Degrader, options: Validation, truth: Truth) -> ValidationSet:
    return ValidationSet(degraded(corpus, model, options, truth), model.scale, options.strips)


def test_a_margin_is_degraded_around_the_same_crop() -> None:
    corpus = one_picture(112)
    model, options = BlurDegrader(BlurModel(2)), Validation(crop=64, degradations=2)
    bare = measured(corpus, model, options, "vector")
    within = measured(corpus, model, replace(options, margin=12), "vector")
    assert torch.equal(bare.hr, within.hr) and torch.equal(bare.known, within.known)
    assert bare.lr.shape == within.lr.shape == (2, 3, 32, 32)
    # An 11x11 kernel at x2 reaches three low-resolution pixels; a transform may round otherwise.
    apart = (bare.lr - within.lr).abs() * 255
    assert float(apart[..., 3:-3, 3:-3].max()) < 1.5
    assert float(apart.max()) > 3


def test_a_picture_that_is_met_exactly_does_not_hide_the_others() -> None:
    scene = one_picture(96)
    flat = torch.zeros_like(scene.pixels)
    both = replace(
        scene,
        pixels=torch.cat((scene.pixels, flat)),
        shapes=scene.shapes * 2,
        offsets=(0, len(flat)),
        names=("scene", "flat"),
    )
    options = Validation(crop=64, degradations=1)
    alone, found = (
        measured(corpus, BlurDegrader(BlurModel(2)), options, "nothing").bicubic
        for corpus in (scene, both)
    )
    assert 0 < alone < 60
    assert found == pytest.approx((alone + 100) / 2)


def test_every_degradation_of_every_picture_is_another() -> None:
    scene = one_picture(96)
    twice = replace(
        scene,
        pixels=scene.pixels.repeat(2, 1),
        shapes=scene.shapes * 2,
        offsets=(0, len(scene.pixels)),
        names=("scene", "again"),
    )
    options = Validation(crop=64, degradations=3)
    found = measured(twice, BlurDegrader(BlurModel(2)), options, "vector").known
    assert found is not None and len(found.unique(dim=0)) == 6


def test_an_estimated_kernel_is_held_against_the_true_one() -> None:
    recipe = load_recipe("danv2-iso-x2", ["network.features=8", "network.groups=1"])
    model = degrader(recipe)
    network = build_network(recipe, model)
    options = Validation(crop=64, degradations=2)
    held_out = measured(one_picture(96), model, options, "kernel")
    plain = torch.autocast("cpu", enabled=False)
    scores = held_out(network, trains="all", autocast=plain)
    with torch.no_grad():
        kernel = network(held_out.lr)[1]
    assert held_out.known is not None
    wanted = float((kernel - held_out.known).abs().sum(1).mean())
    assert wanted > 0.01 and scores.estimate["kernel_error"] == pytest.approx(wanted, rel=1e-4)
