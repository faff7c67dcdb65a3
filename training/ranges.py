"""Numbers of a recipe that make no sense, whatever the rest of it says."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from sr_cli.zoo.loading import LARGEST_OPTION, MOST_ITERATIONS, plausible
from training.schema import Recipe

Range = tuple[float, float]
"""Lowest value, and what every value is below."""

NOT_NEGATIVE: Range = (0, math.inf)
POSITIVE: Range = (1, math.inf)
"""Of whole numbers."""
FRACTION: Range = (0, 1)

RECIPE = {
    "decay_steps": NOT_NEGATIVE,
    "save_minutes": NOT_NEGATIVE,
    "seed": (0, 2**31),  # others are made of it, and generators take 64 bits
}
PHASE = {
    **dict.fromkeys(("batch", "lr_crop", "accumulate"), POSITIVE),
    **dict.fromkeys(("steps", "learning_rate", "margin", "warmup"), NOT_NEGATIVE),
}
SECTIONS: Mapping[str, Mapping[str, Range]] = {
    "data": {
        **dict.fromkeys(("kernel", "reuse", "batches"), POSITIVE),
        **dict.fromkeys(("pool", "alike", "memory"), NOT_NEGATIVE),
    },
    "loss": {
        **dict.fromkeys(("l1", "rmse", "vector", "emphasis", "shape", "detail"), NOT_NEGATIVE),
        **dict.fromkeys(("reconstruction", "consistency", "perceptual", "gan"), NOT_NEGATIVE),
        "discriminator_mean": FRACTION,
        **dict.fromkeys(("feature_positions", "discriminator_features"), POSITIVE),
    },
    "pdm": {
        **dict.fromkeys(("kernel_size", "kernel_numbers", "kernel_blocks", "features"), POSITIVE),
        **dict.fromkeys(("noise_blocks", "noise_features"), POSITIVE),
        **dict.fromkeys(("discriminator_features", "discriminator_stride"), POSITIVE),
        "ema": FRACTION,
        **dict.fromkeys(("noise_numbers", "noise_penalty", "centre", "clip"), NOT_NEGATIVE),
    },
    "optimiser": {
        **dict.fromkeys(("beta1", "beta2", "ema"), FRACTION),
        "muon": NOT_NEGATIVE,
    },
    "start": {
        "high_pass_filters": (0, 1 + 1e-9),
        **dict.fromkeys(("high_pass_gain", "estimator_gain", "residual_gain"), NOT_NEGATIVE),
    },
    "validation": {
        **dict.fromkeys(("every", "crop", "degradations"), POSITIVE),
        **dict.fromkeys(("margin", "strips"), NOT_NEGATIVE),
    },
}


def out_of_range(recipe: Recipe) -> Iterator[str]:
    """Sentences, without a full stop, about every number that cannot be meant."""
    yield from _of("", recipe, RECIPE)
    for section, ranges in SECTIONS.items():
        yield from _of(f"{section}.", getattr(recipe, section), ranges)
    if not (recipe.optimiser.clip == 0 or 1 <= recipe.optimiser.clip < math.inf):
        # Below 1 every step would lower what the next is held against.
        yield f"'optimiser.clip' must be 0 or from 1 on, not {recipe.optimiser.clip}"
    for number, phase in enumerate(recipe.phase):
        yield from _of(f"phase.{number}.", phase, PHASE)
        if any(step < 1 for step in phase.halve_at):
            yield f"'phase.{number}.halve_at' must be steps from 1 on, not {list(phase.halve_at)}"
    # Whole numbers of a network count something: channels, blocks, iterations, a scale.
    for key, value in recipe.network.options.items():
        if type(value) is int and value < 1:
            yield f"'network.{key}' must be positive, not {value}"
        elif not plausible(key, value):
            # The run would end with weights that nothing opens.
            yield (
                f"'network.{key}' is {value!r}, and files of weights tell of counts up to "
                f"{LARGEST_OPTION} ({MOST_ITERATIONS} iterations), numbers, texts and lists of "
                "these alone"
            )


def _of(prefix: str, values: object, ranges: Mapping[str, Range]) -> Iterator[str]:
    for key, (low, high) in ranges.items():
        value = getattr(values, key)
        if low <= value < high:  # NaN is nowhere
            continue
        if high == 1:
            yield f"'{prefix}{key}' must be from 0 to below 1, not {value}"
        elif low == 1:
            yield f"'{prefix}{key}' must be positive, not {value}"
        elif value < 0:
            yield f"'{prefix}{key}' must not be negative, but is {value}"
        else:
            yield f"'{prefix}{key}' must be a number, not {value}"
