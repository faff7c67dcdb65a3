"""What a recipe may not say, though every key of it has a right type: its parts have to fit."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from sr_cli.degradation.two_stage import SMALLEST_SIDE
from training.ranges import out_of_range
from training.schema import PDM, Data, Loss, Phase, Recipe
from training.typed import RecipeError


def check(recipe: Recipe, source: str) -> None:
    """Refuse what cannot be meant.

    Args:
        recipe: Any.
        source: Its name or file, for messages.

    Raises:
        RecipeError: Something in it makes no sense, or does not fit something else in it.
    """
    if not recipe.phase:
        raise RecipeError(f"{source}: a recipe needs at least one [[phase]].")
    for key in ("name", "model"):
        if not re.fullmatch(r"\w[\w.-]*", name := getattr(recipe, key)):
            raise RecipeError(f"{source}: '{key}' names files, so '{name}' cannot be.")
    for sentence in out_of_range(recipe):
        raise RecipeError(f"{source}: {sentence}.")
    for index, phase in enumerate(recipe.phase):
        where = f"{source}: 'phase.{index}"
        if not 0 <= phase.shift <= phase.margin:
            raise RecipeError(f"{where}.shift' must be from 0 to the margin, not {phase.shift}.")
        if phase.batch % phase.accumulate:
            raise RecipeError(f"{where}.batch' must be a multiple of its 'accumulate'.")
        if phase.iterations is not None and "iterations" not in recipe.network.options:
            raise RecipeError(f"{where}.iterations': {recipe.network.family} has no iterations.")
        if phase.trains == "degradation":
            if recipe.data.degradation != "learned":
                raise RecipeError(f"{where}.trains': only the degradation 'learned' is trained.")
        elif phase.trains != "all" and recipe.network.family != "DAN":
            part = phase.trains.capitalize()
            raise RecipeError(f"{where}.trains': only DAN's {part} can be trained alone.")
        if not _learns(recipe, phase):
            which = "" if phase.trains == "all" else f" that train the {phase.trains}"
            raise RecipeError(
                f"{where}': all weights of [loss]{which} are 0: nothing would be learned."
            )
    _check_sides(recipe, source)
    for key in ("sigma", "noise"):
        span = getattr(recipe.data, key)
        if len(span) != 2:
            raise RecipeError(f"{source}: 'data.{key}' must be a list of two numbers, from and to.")
        if not (0 <= span[0] <= span[1] < math.inf) or (key == "sigma" and span[0] == 0):
            raise RecipeError(
                f"{source}: 'data.{key}' must be from a small number to a larger one, "
                f"{'above' if key == 'sigma' else 'not below'} 0, not {list(span)}."
            )
    if not all(0 < fraction < 1 for fraction in recipe.data.shrunk):
        raise RecipeError(
            f"{source}: 'data.shrunk' must be fractions between 0 and 1, not "
            f"{list(recipe.data.shrunk)}."
        )
    layers = len(Loss().feature_weights)
    if len(recipe.loss.feature_weights) != layers or not any(recipe.loss.feature_weights):
        raise RecipeError(
            f"{source}: 'loss.feature_weights' must be a list of {layers} numbers, not all of them "
            f"0, not {list(recipe.loss.feature_weights)}."
        )
    if not 0 <= recipe.data.mild <= 1:
        raise RecipeError(f"{source}: 'data.mild' must be from 0 to 1, not {recipe.data.mild:g}.")
    if recipe.data.kernel % 2 == 0:
        raise RecipeError(f"{source}: 'data.kernel' must be odd, not {recipe.data.kernel}.")
    if recipe.data.degradation == "blur" and recipe.network.scale not in (2, 4):
        raise RecipeError(f"{source}: the degradation 'blur' exists for the scales 2 and 4 only.")
    if recipe.data.degradation == "learned":
        for sentence in _unlearnable(recipe):
            raise RecipeError(f"{source}: {sentence}.")
    for sentence in _without_effect(recipe):
        raise RecipeError(f"{source}: {sentence}.")


def _check_sides(recipe: Recipe, source: str) -> None:
    """Whether all crops are large enough to be degraded."""
    scale = recipe.network.scale
    smallest = 8 * scale
    if recipe.data.degradation == "two-stage":
        smallest = SMALLEST_SIDE
    elif recipe.data.degradation != "blur":  # edges are reflected by half a kernel
        learned = recipe.data.degradation == "learned"
        kernel = recipe.pdm.kernel_size if learned else recipe.data.kernel
        smallest = max(smallest, kernel // 2 + 1)
    sides = {f"phase.{i}.lr_crop": recipe.crop(phase) for i, phase in enumerate(recipe.phase)}
    sides["validation.crop"] = recipe.validation.side(scale)
    for key, side in sides.items():
        if side < smallest:
            raise RecipeError(
                f"{source}: '{key}' makes crops of {side} pixels, margins included; this "
                f"degradation needs {smallest}."
            )


LEARN_UNPAIRED = ("DAN", "EDSR", "RRDB", "DSSR")
"""Families that need to know nothing of a degradation to learn to undo it."""


def _unlearnable(recipe: Recipe) -> Iterator[str]:
    """Sentences, without a full stop, about what cannot be with a degradation that is learned."""
    family, pdm = recipe.network.family, recipe.pdm
    if family not in LEARN_UNPAIRED:
        yield (
            f"{family} learns from true kernels, and nobody knows those of the degradation "
            f"'learned'; {', '.join(LEARN_UNPAIRED)} can do without"
        )
    for key in ("vector", "shape"):
        if family == "DAN" and getattr(recipe.loss, key):
            yield (
                f"'loss.{key}' must be 0: nobody knows the true vectors of the degradation "
                "'learned'"
            )
    if recipe.loss.standardised:
        yield "'loss.standardised': there are no vectors to be standardised"
    if pdm.kernel_size % 2 == 0:
        yield f"'pdm.kernel_size' must be odd, not {pdm.kernel_size}"
    if pdm.noise_outputs not in (1, 3):
        yield f"'pdm.noise_outputs' must be 1 or 3, not {pdm.noise_outputs}"
    smallest, stride = min(phase.lr_crop for phase in recipe.phase), pdm.discriminator_stride
    if stride**2 >= smallest:  # two convolutions have it, and what follows is normalised
        yield (
            f"'pdm.discriminator_stride' of {stride} leaves nothing to compare of crops of "
            f"{smallest} pixels; at most {math.isqrt(smallest - 1)} does"
        )
    for number, phase in enumerate(recipe.phase):
        if phase.trains not in ("all", "degradation"):
            yield f"'phase.{number}.trains': a part alone learns from true vectors"
        if phase.margin:
            yield f"'phase.{number}.margin': the degradation 'learned' knows no margin"


def _without_effect(recipe: Recipe) -> Iterator[str]:
    """Sentences, without a full stop, about what was set and would be ignored."""
    data, usual, loss = recipe.data, Data(), recipe.loss
    ranged = data.degradation not in ("two-stage", "blur", "learned")
    ranges = "is learned" if data.degradation == "learned" else "has the published ranges"
    for key in ("kernel", "sigma", "noise"):
        if not ranged and getattr(data, key) != getattr(usual, key):
            yield f"'data.{key}' is not of the degradation '{data.degradation}', which {ranges}"
    if data.degradation != "learned" and recipe.pdm != PDM():
        yield "'pdm' is of the degradation 'learned' only"
    if loss.feature_weights != Loss().feature_weights and loss.features != "vgg19":
        yield f"'loss.feature_weights' are VGG19's, and 'loss.features' is '{loss.features}'"
    if data.mild and data.degradation not in ("two-stage", "blur"):
        yield "'data.mild' is of the degradations 'two-stage' and 'blur' only"
    if recipe.loss.emphasis != 1 and not recipe.loss.emphasised:
        yield "'loss.emphasis' needs to be told of which numbers: 'loss.emphasised'"
    for number, phase in enumerate(recipe.phase):
        if recipe.network.family == "DMSR" and phase.margin:
            # It degrades the crop anew, whose surroundings are gone by then.
            yield f"'phase.{number}.margin': DMSR's losses need whole crops, without a margin"


def _learns(recipe: Recipe, phase: Phase) -> bool:
    """Whether any term of the loss has something to say to what a phase trains."""
    loss = recipe.loss
    picture = loss.l1, loss.rmse, loss.perceptual, loss.gan
    others = loss.detail, loss.reconstruction, loss.consistency
    estimate = loss.vector, loss.shape
    if phase.trains == "degradation":
        return True
    if phase.trains == "estimator":
        return any(estimate)
    if phase.trains == "restorer":
        return any(picture)
    estimates = recipe.network.family in ("DAN", "DANv1", "DANv2")
    return any((*picture, *others)) or (estimates and any(estimate))
