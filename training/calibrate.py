"""Calibrating the degradation tail of a trained network on large pictures.

Trained on small crops, where the picture's edge fills much of what the Estimator averages, its
numbers are biased on whole pictures.  Their order is right, so a scale and an offset for every
number, fitted by least squares on training pictures where the number applies, mend that.  Both fold
into the last linear layer; the picture does not change, as the Restorer never sees the vector.

    python -m training.calibrate RUN/ema.safetensors --recipe dan-real-x4-cpu --data photos/
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from sr_cli.degradation.layout import Layout
from sr_cli.degradation.two_stage import SMALLEST_SIDE
from sr_cli.networks.dan import DAN
from sr_cli.zoo import weights
from sr_cli.zoo.manifest import ZooError
from training.corpus import Corpus, CorpusError, read_corpus
from training.degradations import Degrader, degraded_centres, degrader
from training.initial import channels_last
from training.recipe import RecipeError, load_recipe

SEED = 40_000
FEWEST = 8
"""Cases that a line is fitted to."""


def calibrate(network: DAN, layout: Layout, estimate: Tensor, truth: Tensor) -> int:
    """Fold the best scale and offset of every number into the degradation tail, in place.

    Args:
        network: What made the estimates.
        layout: What the numbers are.
        estimate: ``(N, D)`` of large pictures that are not used for measuring.
        truth: ``(N, D)`` as drawn.

    Returns:
        Of how many numbers there were enough cases; the others stay as they are.
    """
    applicable = torch.tensor([layout.applicable(row) for row in truth.tolist()])
    tail = network.degradation_tail
    assert tail.bias is not None
    with torch.no_grad():
        for p in layout.parameters:
            chosen = applicable[:, p.index]
            scale, offset = line(estimate[chosen, p.index], truth[chosen, p.index])
            tail.weight[p.index] *= scale
            tail.bias[p.index] = tail.bias[p.index] * scale + offset
    return int((applicable.sum(0) >= FEWEST).sum())


def line(estimate: Tensor, truth: Tensor) -> tuple[float, float]:
    """Scale and offset of the least-squares line; never a falling one, which would be chance."""
    if len(truth) < FEWEST:
        return 1.0, 0.0
    a, b = estimate.double(), truth.double()
    spread = (a - a.mean()).square().sum()
    scale = float(((a - a.mean()) * (b - b.mean())).sum() / spread) if spread > 0 else 0.0
    scale = max(scale, 0.0)
    return scale, float(b.mean() - scale * a.mean())


@torch.no_grad()
def estimates(
    network: DAN, model: Degrader, corpus: Corpus, crop: int, repeats: int
) -> tuple[Tensor, Tensor]:
    """Estimates and truths ``(N, D)`` of centre crops of a corpus, degraded with fixed seeds."""
    found: list[Tensor] = []
    truths: list[Tensor] = []
    for _, lr, drawn in degraded_centres(corpus, model, crop, repeats, SEED):
        found.append(network.vector(lr.contiguous(memory_format=torch.channels_last)))
        truths.append(model.vector(drawn))
    return torch.cat(found), torch.cat(truths)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m training.calibrate", description=__doc__)
    parser.add_argument("weights", type=Path, help="a run's ema.safetensors; rewritten")
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--set", action="append", default=[], dest="changes")
    parser.add_argument("--data", type=Path, action="append", required=True, help="may be repeated")
    parser.add_argument("--crop", type=int, default=768, help="side of the high-resolution crops")
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args(arguments)
    if options.repeats < 1 or options.crop < SMALLEST_SIDE:
        parser.error(f"--repeats must be at least 1, --crop at least {SMALLEST_SIDE}")
    try:
        recipe = load_recipe(options.recipe, options.changes)
        model = degrader(recipe)
        state, header = weights.read(options.weights)
        # As the weights were trained: a run that was finished early has fewer iterations.
        told = weights.told_options(header, options.weights)
        if header.get("network") != "DAN" or model.layout is None:
            parser.error(f"{options.weights} is no DAN, or {recipe.name} tells no vector")
        network = channels_last(DAN(**told))
        numbers = network.degradation_tail.out_channels
        if (network.scale, numbers) != (model.scale, len(model.layout)):
            parser.error(f"{options.weights} is of another scale or degradation than {recipe.name}")
        network.load_state_dict(state)
        corpus = read_corpus(options.data, min(256, options.crop))
    except (RecipeError, ZooError, CorpusError, RuntimeError, TypeError) as error:
        parser.error(" ".join(str(error).splitlines()[:2]))
    estimate, truth = estimates(network, model, corpus, options.crop, options.repeats)
    fitted = calibrate(network, model.layout, estimate, truth)
    if not fitted:
        parser.error(
            f"{len(truth)} degraded pictures are too few for a line: every number wants "
            f"{FEWEST} that it applies to. Take more --data or --repeats"
        )
    try:
        weights.write_with(options.weights, network.state_dict(), weights.own_header(header))
    except OSError as error:
        parser.error(f"{options.weights} cannot be written: {error.strerror}")
    sys.stdout.write(
        f"calibrated {fitted} of {len(model.layout)} numbers on {len(truth)} degraded pictures\n"
    )


if __name__ == "__main__":
    main()
