"""Recipes at the published scale say what the papers and the authors' option files say.

The numbers stand here a second time, taken from there and not from the recipes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from training.recipe import load_recipe

EVERY_200K, EVERY_80K = (200_000, 400_000), tuple(range(80_000, 400_001, 80_000))

REALDAN = {
    "phase": (600_000, 64, 48, 2e-4, EVERY_200K),
    "adam": (0.9, 0.999, 0.999),
    "loss": {"l1": 1, "vector": 1},
    "degradation": ("two-stage",),
    "iterations": 3,
    "pool": (1024, 16),
}
BLUR_X4 = REALDAN | {
    "phase": (600_000, 64, 48, 2e-4, (300_000, 500_000)),
    "degradation": ("blur",),
    "pool": (1024, 0),
}
BLUR_X2 = BLUR_X4 | {
    "phase": (600_000, 48, 48, 2e-4, EVERY_200K),
    "adam": (0.9, 0.999, 0),
    "pool": (768, 0),
}
TWIN = {"iterations": None}
DANV1 = {
    "phase": (400_000, 64, 64, 4e-4, (200_000,)),
    "adam": (0.9, 0.99, 0),
    "loss": {"l1": 1, "vector": 1},
    "error": "l1",
    "iterations": 4,
    "pool": (0, 0),
}
DANV2 = DANV1 | {"phase": (800_000, 64, 64, 4e-4, (200_000, 400_000, 600_000))}
DSSR = DANV1 | {
    "phase": (480_000, 8, 64, 2e-4, EVERY_80K),
    "loss": {"l1": 1, "vector": 1, "detail": 1},  # it estimates nothing: no term is of `vector`
    "error": "l2",
}
DMSR = {
    "phase": (500_000, 32, 48, 1e-4, EVERY_200K),
    "adam": (0.9, 0.999, 0),
    "loss": {"l1": 1, "vector": 1, "reconstruction": 10, "consistency": 1},
    "degradation": ("blur-noise", 15, 0.2, 3.0, 0, 75),
    "iterations": None,
    "pool": (0, 0),
}
DMSR_NF = DMSR | {
    "phase": (100_000, 32, 48, 1e-4, ()),
    "degradation": ("blur-noise", 15, 0.2, 3.0, 0, 0),
}


PDM_SR = {
    "phase": (200_000, 32, 32, 2e-4, (50_000, 100_000, 150_000)),
    "adam": (0.9, 0.999, 0),
    "loss": {"l1": 1},
    "degradation": ("learned",),
    "iterations": None,
    "pool": (0, 0),
}


def isotropic(scale: int) -> Mapping[str, Any]:
    """Setting 1: 21x21, sigma 0.2 to the scale."""
    return {"degradation": ("isotropic", 21, 0.2, float(scale), 0, 0)}


def anisotropic(side: int) -> Mapping[str, Any]:
    """Setting 2: sigma 0.6 to 5."""
    return {"degradation": ("anisotropic", side, 0.6, 5.0, 0, 0)}


PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "dan-real-x4": REALDAN,
    "dan-real-gan-x4": REALDAN
    | {
        "phase": (600_000, 64, 48, 1e-4, EVERY_200K),
        "loss": {"l1": 1, "vector": 1, "perceptual": 1, "gan": 0.1},
    },
    "dan-blur-x4": BLUR_X4,
    "dan-blur-x2": BLUR_X2,
    "edsr-blur-x4": BLUR_X4 | TWIN,
    "edsr-blur-x2": BLUR_X2 | TWIN,
    **{f"danv1-iso-x{s}": DANV1 | isotropic(s) for s in (2, 3, 4)},
    **{f"danv2-iso-x{s}": DANV2 | isotropic(s) for s in (2, 3, 4)},
    **{f"dssr-iso-x{s}": DSSR | isotropic(s) for s in (2, 3, 4)},
    "danv1-aniso-x2": DANV1 | anisotropic(11),
    "danv1-aniso-x4": DANV1 | anisotropic(21),  # of the option file; 31 in the paper
    "danv2-aniso-x2": DANV2 | anisotropic(11),
    "danv2-aniso-x4": DANV2 | anisotropic(31),
    "dssr-aniso-x2": DSSR | anisotropic(11),
    "dssr-aniso-x4": DSSR | anisotropic(31),
    **{f"dmsr-x{s}": DMSR for s in (2, 3, 4)},
    **{f"dmsr-nf-x{s}": DMSR_NF for s in (2, 3, 4)},
    "pdm-sr-x4": PDM_SR,
    "pdm-srgan-x4": PDM_SR | {"loss": {"l1": 0.01, "perceptual": 0.05, "gan": 0.005}},
}

TERMS = (
    *("l1", "rmse", "vector", "shape", "detail"),
    *("reconstruction", "consistency", "perceptual", "gan"),
)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_numbers_are_the_published_ones(name: str) -> None:
    wanted, recipe = PUBLISHED[name], load_recipe(name)
    (phase,) = recipe.phase
    numbers = phase.steps, phase.batch, phase.lr_crop, phase.learning_rate, phase.halve_at
    assert numbers == wanted["phase"]
    # None of these warms up, decays at the end, cuts margins off or clips gradients.
    assert not any((phase.warmup, recipe.decay_steps, phase.margin, phase.shift))
    adam = recipe.optimiser
    assert (adam.beta1, adam.beta2, adam.ema) == wanted["adam"]
    assert not any((adam.clip, adam.muon))
    loss = recipe.loss
    assert {t: getattr(loss, t) for t in TERMS if getattr(loss, t)} == wanted["loss"]
    assert loss.error == wanted.get("error", "l2")
    assert loss.features == "vgg19" and loss.discriminator_mean == 0
    assert not any((loss.standardised, loss.applying, loss.emphasised))
    data = recipe.data
    drawn = data.degradation, data.kernel, *data.sigma, *data.noise
    assert drawn[: len(wanted["degradation"])] == wanted["degradation"]
    assert (data.pool, data.alike) == wanted["pool"]
    assert (data.reuse, data.batches, data.shrunk) == (1, 1, ())
    assert recipe.network.options.get("iterations") == wanted["iterations"]
    assert recipe.network.scale == int(name[-1])


def test_a_learned_degradation_is_made_as_that_of_2020track1() -> None:
    sr, gan = load_recipe("pdm-sr-x4"), load_recipe("pdm-srgan-x4")
    assert sr.pdm == gan.pdm
    kernel = sr.pdm.kernel_numbers, sr.pdm.kernel_blocks, sr.pdm.features, sr.pdm.kernel_size
    assert kernel == (3, 8, 64, 11)
    noise = sr.pdm.noise_numbers, sr.pdm.noise_blocks, sr.pdm.noise_features, sr.pdm.noise_outputs
    assert noise == (3, 8, 64, 3) and sr.pdm.noise_mix and sr.pdm.noise_spatial
    assert (sr.pdm.noise_penalty, sr.pdm.centre, sr.pdm.clip) == (100, 0, 50)
    assert (sr.pdm.discriminator_features, sr.pdm.discriminator_stride) == (64, 1)
    assert gan.loss.discriminator == "patch" and gan.loss.feature_weights == (0, 0, 0, 0, 1)


def test_only_dmsr_without_noise_and_the_gan_go_on_from_other_weights() -> None:
    after = {name: load_recipe(name).start.after for name in PUBLISHED}
    assert {name: start for name, start in after.items() if start} == {
        "dan-real-gan-x4": "dan-real-x4",
        **{f"dmsr-nf-x{s}": f"dmsr-x{s}" for s in (2, 3, 4)},
    }
