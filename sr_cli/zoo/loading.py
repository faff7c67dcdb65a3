"""From what a user calls a model to a ready network."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sr_cli.degradation.blur_only import KERNEL_RADIUS
from sr_cli.degradation.layout import TWO_STAGE, Layout, blur_layout
from sr_cli.networks import registry
from sr_cli.networks.family import Family
from sr_cli.networks.stages import SuperResolver
from sr_cli.zoo import hub, store, weights
from sr_cli.zoo.manifest import ZooError, find, of_numbers
from sr_cli.zoo.mixture import mixed, parse

LARGEST_OPTION = 1024
"""No whole number among a network's options is larger; one in a header that is would only keep the
machine busy."""
MOST_ITERATIONS = 32
"""Of a recurrent network.  Nothing in the weights contradicts a header that asks for more."""
SHOWN_KEYS = 3
"""Names of tensors in an error; a whole list helps nobody."""


class UnknownNetworkError(ZooError):
    """A weights file of a network that is not ours."""


@dataclass(frozen=True)
class LoadedModel:
    """A network with what its users must know."""

    name: str
    """As in the manifest, or as the user called the file."""
    network: SuperResolver
    """In evaluation mode on the CPU, float32."""
    scale: int
    """Enlargement."""
    layout: Layout | None
    """What the numbers of the network's vector are.  None if it estimates nothing, or something
    that has no layout here, such as a kernel."""
    estimate: Mapping[str, Mapping[str, float]]
    """Measured skill a number, as in the manifest; empty for a file that is not of the zoo."""

    @property
    def digest(self) -> str:
        """SHA-256 of the weights as numbers, whatever file and header they come from."""
        return weights.digest(self.network.state_dict())


def load(name: str) -> LoadedModel:
    """A model in evaluation mode on the CPU, float32.

    Args:
        name: A name of the manifest, a path of a weights file, ``hf:owner/repo/file[@rev]``, or
            two of these as ``FIRST+SECOND:SHARE`` (`sr_cli.zoo.mixture`).

    Raises:
        ZooError: There is no such model, or its weights cannot be had, read or recognised, or two
            that are to be mixed are different networks.
    """
    mixture = parse(name)
    if mixture is not None:
        return mixed(load(mixture.first), load(mixture.second), mixture.share, name)
    path = weights_file(name)
    if path is not None:
        return _from_file(path, name)
    model = find(name)
    path = store.locate(model)
    state, header = weights.read(path)
    known = Recognised(registry.family(model.network), model.options, state, header)
    network = _built(known, path)
    layout = _layout(model.degradation, model.scale)
    return LoadedModel(model.name, network, model.scale, layout, model.estimate)


def weights_file(name: str) -> Path | None:
    """The file that a user means; None if it is the name of a model.

    Args:
        name: As of `load`.  A reference to the Hub is fetched.

    Raises:
        ZooError: The reference is wrong or cannot be fetched, or the file is of another kind.
    """
    if name.startswith(hub.PREFIX):
        return hub.fetch(hub.parse_reference(name))
    path = Path(name)
    if name.lower().endswith(weights.SUFFIXES):
        return path
    if path.is_file():
        raise ZooError(
            f"{name} is not a kind of weights file that is read here. Those end in "
            f"{', '.join(weights.SUFFIXES)}."
        )
    return None


@dataclass(frozen=True)
class Recognised:
    """A weights file whose network is known."""

    family: Family
    options: Mapping[str, Any]
    """The constructor's keywords."""
    state: Mapping[str, Tensor]
    """In our names, the tensors as they are in the file."""
    header: Mapping[str, str]
    """Empty for a pickle."""


def recognise(path: Path) -> Recognised:
    """Find out whose weights a file holds: by its keys, and by its header what keys do not tell.

    Raises:
        ZooError: It cannot be read, its header lies, or it is of no network of ours; the nearest
            one is named with what is missing for it.
    """
    state, header = weights.read(path)
    return _recognised(state, header, path)


def _recognised(state: Mapping[str, Tensor], header: Mapping[str, str], path: Path) -> Recognised:
    try:
        found, options, renamed = registry.recognise(state)
    except KeyError:
        raise UnknownNetworkError(
            f"{path} is not of a network of this program: {_nearest(state)}"
        ) from None
    return Recognised(found, _with_header(found, options, header, path), renamed, header)


def _from_file(path: Path, name: str) -> LoadedModel:
    state, header = weights.read(path)
    try:
        known = _recognised(state, header, path)
    except UnknownNetworkError as unknown:
        return _of_others(state, path, name, unknown)
    network = _built(known, path)
    # What was measured is true of the same numbers in any file, such as a converted one.
    model = of_numbers(weights.digest(network.state_dict()))
    estimates = known.family.estimates == "vector"
    size = known.options.get("degradation_size") if estimates else None
    layout = _layout_of_size(size, network.scale)
    return LoadedModel(name, network, network.scale, layout, model.estimate if model else {})


def _of_others(
    state: Mapping[str, Tensor], path: Path, name: str, unknown: UnknownNetworkError
) -> LoadedModel:
    """A network that is not ours, from whoever knows more."""
    from sr_cli.integrations import spandrel

    try:
        network = spandrel.load(state, path)
    except ZooError as error:
        raise ZooError(f"{unknown} {error}") from None
    if network is None:
        raise unknown
    return LoadedModel(name, network, network.scale, None, {})


def _with_header(
    found: Family, detected: Mapping[str, Any], header: Mapping[str, str], path: Path
) -> dict[str, Any]:
    """Options deduced from the weights, with those that only the header tells."""
    if header.get("network", found.name) != found.name:
        raise ZooError(
            f"{path} says that it holds {header['network']}, but its weights are of {found.name}. "
            "It is damaged or not what it seems; fetch it again."
        )
    told = weights.told_options(header, path)
    if not all(plausible(k, v) for k, v in told.items()):
        raise weights.senseless(path)
    if unknown := told.keys() - inspect.signature(found.build).parameters.keys():
        raise ZooError(
            f"{path} needs the option '{min(unknown)}' of {found.name}, which this sr-cli does not "
            "know. Install a newer one."
        )
    return {**detected, **told}


def plausible(key: str, value: object) -> bool:
    """Whether a file may say this of a network's option: counts, numbers, texts, lists of these."""
    if isinstance(value, list | tuple):
        flat = not any(isinstance(one, list | tuple) for one in value)
        return flat and len(value) <= LARGEST_OPTION and all(plausible(key, one) for one in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return 1 <= value <= (MOST_ITERATIONS if key == "iterations" else LARGEST_OPTION)
    return value is None or isinstance(value, bool | float | str)


def _built(known: Recognised, path: Path) -> SuperResolver:
    """A network with weights, in evaluation mode."""
    found, options, state = known.family, known.options, known.state
    network = fitting(known, path)
    expected = network.state_dict()
    # Copies, or the network would change with its file.
    own = {key: value.to(expected[key].dtype, copy=True) for key, value in state.items()}
    network.load_state_dict(own, strict=True, assign=True)
    if any(tensor.is_meta for tensor in (*network.parameters(), *network.buffers())):
        # Something that is not saved, so it has to be computed.
        network = found.build(**options)
        network.load_state_dict(own, strict=True)
    return network.eval()


def fitting(known: Recognised, path: Path) -> SuperResolver:
    """The network that weights are of, without memory, once it is sure that they fit.

    Raises:
        ZooError: There is no such network, or they do not.
    """
    found, state = known.family, known.state
    try:
        # Without memory, so that a lying header costs nothing, nor do weights that are not kept.
        with torch.device("meta"):
            network = found.build(**known.options)
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise ZooError(f"{path} asks for a {found.name} that cannot be: {error}.") from None
    expected = network.state_dict()
    if channels := _other_channels(expected, state):
        raise ZooError(
            f"{path} holds weights of {found.name} for pictures of {channels} channels; here they "
            "have 3: red, green and blue."
        )
    if complaint := misfit(expected, state):
        raise ZooError(f"{path} does not fit {found.name}: {complaint}. Fetch the file again.")
    return network


def _other_channels(expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> int:
    """What a convolution takes in place of a picture's three channels, and differs in alone; or 0.

    So it is with weights for gray pictures, or for those with transparency.
    """
    for key, tensor in expected.items():
        if tensor.ndim != 4 or tensor.shape[1] != 3 or key not in state:
            continue
        there = state[key].shape
        like = len(there) == 4 and there[0] == tensor.shape[0] and there[2:] == tensor.shape[2:]
        if like and there[1] != 3:
            return there[1]
    return 0


def misfit(expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """In words, what is wrong with a state dict in the place of another; "" if nothing."""
    if missing := [key for key in expected if key not in state]:
        return f"it lacks {_listed(missing)}"
    if unknown := [key for key in state if key not in expected]:
        return f"it has {_listed(unknown)} beside what belongs there"
    for key, tensor in expected.items():
        if tensor.shape != state[key].shape:
            return f"{key} is of shape {tuple(state[key].shape)}, not {tuple(tensor.shape)}"
        if tensor.is_floating_point() and not state[key].is_floating_point():
            return f"{key} holds {str(state[key].dtype).removeprefix('torch.')}, no fractions"
    return ""


def _nearest(state: Mapping[str, Tensor]) -> str:
    if not state:
        return "it holds no tensors."
    found, missing = registry.nearest(state)
    if not missing:
        return f"it has the keys of {found.name}, but sizes that no {found.name} has."
    if len(missing) == len(found.needed):
        return f"its first key is '{next(iter(state))}', and no network here has one like it."
    return f"{found.name} is the nearest, for which it lacks {_listed(missing)}."


def _listed(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - SHOWN_KEYS} more" if len(keys) > SHOWN_KEYS else ""
    return ", ".join(keys[:SHOWN_KEYS]) + more


def _layout(name: str | None, scale: int) -> Layout | None:
    if name == "two-stage":
        return TWO_STAGE
    if name is None or scale not in KERNEL_RADIUS:
        return None
    return blur_layout(KERNEL_RADIUS[scale])


def _layout_of_size(size: int | None, scale: int) -> Layout | None:
    """The layout of a vector of which only the length is known."""
    known = (_layout(name, scale) for name in ("two-stage", "blur"))
    return next((one for one in known if one is not None and len(one) == size), None)
