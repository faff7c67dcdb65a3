"""The network a run begins with: fresh, seeded by the recipe, or from earlier weights."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from sr_cli.networks.blocks import RRDB, EDSRBlock
from sr_cli.networks.dan import DAN
from sr_cli.networks.danv1 import KernelAlternation
from sr_cli.networks.dmsr import DMSR
from sr_cli.networks.edsr import EDSR
from sr_cli.networks.keys import Renames, rename
from sr_cli.networks.registry import family
from sr_cli.networks.stages import SuperResolver
from sr_cli.temporary import replacing
from sr_cli.zoo import hub, store, weights
from sr_cli.zoo.card import told_start
from sr_cli.zoo.loading import UnknownNetworkError, misfit, recognise, weights_file
from sr_cli.zoo.manifest import ZooError, find, of_numbers
from training.degradations import Degrader, principal_components
from training.recipe import RecipeError
from training.schema import Recipe, Start
from training.unroll import unroll

N = TypeVar("N", bound=nn.Module)


_OF_DAN: Renames = (
    (r"^image_head\.", "head."),
    (r"^restorer\.body\.", "body."),
    (r"^image_tail\.0\.", "closing."),
    (r"^image_tail\.1\.", "upsample."),
    (r"^image_tail\.2\.", "last."),
)
"""What a DAN's head, Restorer and tail are called in its twin without an Estimator."""


START = "start.json"
"""Within the folder of a run that went on from earlier weights: what is told of them."""


class TrainingError(Exception):
    """The run cannot start or go on; the message says why."""


def channels_last(network: N) -> N:
    """The network in the memory layout that is fast on CPUs and GPUs alike."""
    laid_out: N = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return laid_out


def build_network(
    recipe: Recipe,
    model: Degrader | None = None,
    start: str | Path | Earlier | None = None,
    tell: Callable[[str], None] | None = None,
) -> SuperResolver:
    """A network at the first phase's iterations.

    Args:
        recipe: Its options and its seed.
        model: Of the degradation, whose kernels DANv1, DANv2 and DMSR describe by their
            principal components; may be left out for others, or with a start.
        start: What to start from instead of fresh weights, read already or as `earlier` takes it.
            A DAN whose header tells other iterations is turned to the phase's by `training.unroll`.
        tell: Called with a sentence on how much of it was taken, where not all has to fit.

    Raises:
        RecipeError: The network cannot be built with these options.
        TrainingError: The weights cannot be used.
    """
    torch.manual_seed(recipe.seed)
    options = dict(recipe.network.options)
    if (iterations := recipe.phase[recipe.begins].iterations) is not None:
        options["iterations"] = iterations
    whole = start is not None and not recipe.start.fitting
    try:
        network: SuperResolver = family(recipe.network.family).build(**options)
        _initialise(network, recipe)
        if not whole and model is not None and isinstance(network, KernelAlternation | DMSR):
            encoded = network.deblur if isinstance(network, DMSR) else network
            encoded.set_encoder(principal_components(model, options["code_size"]))
    except (ValueError, KeyError) as error:
        raise RecipeError(f"{recipe.name}: {recipe.network.family}: {error}") from None
    if start is not None:
        found = start if isinstance(start, Earlier) else earlier(start)
        taken = _start_from(network, found, fitting=recipe.start.fitting)
        if tell and taken < (number := len(network.state_dict())):
            tell(
                f"of {found.named} fit {taken} of the network's {number} tensors; the rest is fresh"
            )
    return network


def _start_from(network: nn.Module, start: Earlier, *, fitting: bool) -> int:
    """Load the weights of an earlier run in place of fresh ones, or those that fit: how many."""
    fresh = network.state_dict()
    state = start.state
    if fitting:
        if isinstance(network, EDSR):
            state = rename(state, _OF_DAN)
        state = {k: v for k, v in state.items() if k in fresh and v.shape == fresh[k].shape}
        if not state:
            raise TrainingError(f"Cannot start from {start.named}: nothing in it fits the network.")
    elif complaint := misfit(fresh, state):
        raise TrainingError(
            f"Cannot start from {start.named}: for this recipe's network {complaint}. "
            "--set start.fitting=true takes of it what fits."
        )
    network.load_state_dict(state, strict=not fitting)
    if isinstance(network, DAN) and start.iterations and "restorer.fusion.weight" in state:
        wanted, network.iterations = network.iterations, start.iterations
        unroll(network, wanted)
    return len(state)


@dataclass(frozen=True, eq=False)
class Earlier:
    """Weights that a run is to go on from."""

    named: str
    """As they were asked for."""
    path: Path
    state: Mapping[str, Tensor]
    """In our names."""
    header: Mapping[str, str]
    iterations: int | None
    """With which they were trained, if the header tells."""


def earlier(start: str | Path) -> Earlier:
    """Read weights to start from.

    Args:
        start: A file, ours or a published one, a model's name or ``hf:owner/repo/file``.

    Raises:
        TrainingError: They cannot be had, or not be read.
    """
    named = str(start)
    try:
        path = weights_file(named) or store.locate(find(named))
        try:
            known = recognise(path)
            state, header = known.state, known.header
        except UnknownNetworkError:  # parts of one
            state, header = weights.read(path)
        iterations = weights.told_options(header, path).get("iterations")
    except ZooError as error:
        raise TrainingError(f"Cannot start from {named}: {error}") from None
    return Earlier(named, path, state, header, iterations)


def told_of(start: Earlier | None) -> dict[str, str]:
    """What is to be told of the weights that a run goes on from (`sr_cli.zoo.card.START`).

    A model of the zoo is known by its numbers, whatever file they are in.  Nothing is told of fresh
    weights.
    """
    if start is None:
        return {}
    header, path = start.header, start.path
    numbers = weights.digest(start.state)
    known = of_numbers(numbers)
    licence = known.licence if known else header.get("licence")
    # The folders that a file lies in are nobody else's business.
    name = start.named if start.named.startswith(hub.PREFIX) else path.name
    if "model" in header and header["model"] != path.stem:
        name += f" of {header['model']}"
    found = {"start": known.name if known else name, "start_numbers_sha256": numbers}
    if licence:
        found["start_licence"] = licence
    if before := told_start(header):
        told = [before.get(key) for key in ("start", "start_licence", "start_before")]
        found["start_before"] = ", ".join(filter(None, told))
    return found


def keep_start(out: Path, start: Mapping[str, str]) -> None:
    """Keep in a run's folder what is told of its start, since a resumed run is not told again.

    Raises:
        OSError: It cannot be written.
    """
    if start == kept_start(out):
        return
    if not start:
        (out / START).unlink()
        return
    with replacing(out / START) as file:
        file.write((json.dumps(start, indent=1) + "\n").encode())


def kept_start(out: Path) -> dict[str, str]:
    """What a run's folder keeps of its start; empty where it began with fresh weights."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads((out / START).read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return told_start({key: str(value) for key, value in found.items()})
    return {}


@torch.no_grad()
def _initialise(network: SuperResolver, recipe: Recipe) -> None:
    start = recipe.start
    if start.high_pass_filters or start.estimator_gain != 1:
        if not isinstance(network, DAN):
            raise RecipeError(
                f"{recipe.name}: 'start.high_pass_filters' and 'start.estimator_gain' are for the "
                f"family DAN, not {recipe.network.family}."
            )
        _initialise_estimator(network, start)
    if start.residual_gain != 1:
        for block in network.modules():
            if isinstance(block, EDSRBlock | RRDB):
                last = [m for m in block.modules() if isinstance(m, nn.Conv2d)][-1]
                last.weight *= start.residual_gain
                assert last.bias is not None
                last.bias *= start.residual_gain


def _initialise_estimator(network: DAN, start: Start) -> None:
    weight = network.image_head.weight
    count = round(start.high_pass_filters * len(weight))
    if count:
        filters = weight[:count]
        filters -= filters.mean((2, 3), keepdim=True)
        filters *= start.high_pass_gain
        assert network.image_head.bias is not None
        network.image_head.bias[:count] = 0
    for module in network.estimator.body.modules():
        if isinstance(module, nn.Conv2d):
            module.weight *= start.estimator_gain
