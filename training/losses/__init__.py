"""Losses, as terms that are logged one by one and summed."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from sr_cli.networks import registry
from sr_cli.networks.dan import DAN
from sr_cli.networks.dmsr import DMSR
from sr_cli.networks.dssr import DSSR
from sr_cli.networks.stages import SuperResolver
from training.degradations import Degrader
from training.losses.estimate import EstimateLoss, vector_weighing
from training.losses.features import Features, load_features
from training.losses.objective import (
    Details,
    FirstEstimate,
    MetaRestoration,
    Objective,
    Restoration,
    Truth,
    TruthGiven,
)
from training.losses.shape import ShapeLoss
from training.recipe import RecipeError
from training.schema import Phase, Recipe

__all__ = ["Objectives"]

ONLY_FOR: Mapping[str, tuple[str, ...]] = {
    "shape": ("DAN",),
    "detail": ("DSSR",),
    "reconstruction": ("DMSR",),
    "consistency": ("DMSR",),
}
"""Terms of single families' losses."""
NOT_FOR: Mapping[str, tuple[str, ...]] = {
    "rmse": ("DSSR", "DMSR"),
    "perceptual": ("DSSR", "DMSR"),
}
"""Terms that the losses of some families, which are their own, do not have."""


class Objectives:
    """Makes the loss of each phase of a recipe.

    Args:
        recipe: What to minimise.
        network: What will be trained.
        model: What the pictures are degraded by.
        device: Of whatever the losses keep: perceptual features, deviations.

    Raises:
        RecipeError: The losses do not fit the network or the degradation.
        FeaturesError: The perceptual loss's weights cannot be had.
    """

    def __init__(
        self, recipe: Recipe, network: SuperResolver, model: Degrader, device: torch.device
    ) -> None:
        for key, families in ONLY_FOR.items():
            if getattr(recipe.loss, key) and recipe.network.family not in families:
                raise RecipeError(
                    f"{recipe.name}: 'loss.{key}' is for {', '.join(families)}, not "
                    f"{recipe.network.family}."
                )
        for key, families in NOT_FOR.items():
            if getattr(recipe.loss, key) and recipe.network.family in families:
                raise RecipeError(
                    f"{recipe.name}: 'loss.{key}' is no part of {recipe.network.family}'s loss."
                )
        self.recipe = recipe
        self.network = network
        self.features: Features | None = None
        if recipe.loss.perceptual:
            self.features = load_features(recipe.loss).to(device)
        self.estimate = _estimate_loss(recipe, network, model, device)
        self.shape = _shape_loss(recipe, network, model, device)

    def of(self, phase: Phase) -> Objective:
        """The loss of a phase; where the degradation learns alone, that of those that follow."""
        loss = self.recipe.loss
        if phase.trains == "estimator":
            assert self.estimate is not None
            return FirstEstimate(self.estimate, self.shape)
        if isinstance(self.network, DSSR):
            return Details(loss.l1, loss.detail)
        if isinstance(self.network, DMSR):
            return MetaRestoration(loss.l1, loss.reconstruction, loss.consistency)
        estimate = self.estimate if loss.vector else None
        described = registry.family(self.recipe.network.family).estimates
        truth: Truth = "vector" if described == "vector" else "kernel"
        restoration = Restoration(
            loss.l1,
            estimate,
            loss.perceptual,
            self.features,
            truth if estimate or self.shape else "nothing",
            self.shape,
            loss.rmse,
        )
        return TruthGiven(restoration) if phase.trains == "restorer" else restoration


def _shape_loss(
    recipe: Recipe, network: SuperResolver, model: Degrader, device: torch.device
) -> ShapeLoss | None:
    if not recipe.loss.shape:
        return None
    assert isinstance(network, DAN)
    try:
        return ShapeLoss(recipe.loss.shape, model, network.image_head.out_channels, device)
    except ValueError as error:
        raise RecipeError(f"{recipe.name}: 'loss.shape': {error}.") from None


def _estimate_loss(
    recipe: Recipe, network: SuperResolver, model: Degrader, device: torch.device
) -> EstimateLoss | None:
    """The error of the network's estimate, if it makes one, once it is sure that they fit."""
    loss, kind, name = recipe.loss, recipe.data.degradation, recipe.network.family
    estimates = registry.family(name).estimates
    if estimates == "vector":
        if kind == "learned":  # which tells no vector
            return None
        size = recipe.network.options.get("degradation_size", 0)
        if model.layout is None or len(model.layout) != size:
            raise RecipeError(
                f"{recipe.name}: a {name} of {size} numbers (network.degradation_size) does not "
                f"describe the degradation '{kind}'. Take 42 numbers for 'two-stage' and 8 for "
                "'blur'."
            )
        if not loss.standardised and (loss.applying or loss.emphasised):
            raise RecipeError(
                f"{recipe.name}: 'loss.applying' and 'loss.emphasised' need 'loss.standardised'."
            )
        return EstimateLoss(
            loss, vector_weighing(model, loss).to(device) if loss.standardised else None
        )
    if loss.standardised or loss.applying or loss.emphasised:
        raise RecipeError(
            f"{recipe.name}: only vectors, as a DAN's, can be standardised; {name} estimates none."
        )
    if estimates and "kernel_size" in recipe.network.options:
        side = recipe.network.options["kernel_size"]
        if kind in ("two-stage", "blur") or side != recipe.data.kernel:
            raise RecipeError(
                f"{recipe.name}: {name} estimates a kernel of {side}x{side} pixels; "
                "'data.kernel' must be that and 'data.degradation' 'isotropic', "
                "'anisotropic' or 'blur-noise'."
            )
    return EstimateLoss(loss) if estimates and not isinstance(network, DMSR) else None
