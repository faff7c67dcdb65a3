"""From a network's name to its class, and from a state dict to the network that it belongs to.

Adding a network: write its file, then add one line here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from sr_cli.networks import dan, danv1, danv2, dmsr, dssr, edsr, rrdb
from sr_cli.networks.stages import SuperResolver

Estimate = Literal["vector", "code", "kernel"]


@dataclass(frozen=True)
class Family:
    """What the rest of the house has to know of a network."""

    name: str
    """As written in manifests and headers."""
    build: Callable[..., SuperResolver]
    """Constructor, taking the options as keywords."""
    detect: Callable[[Mapping[str, Tensor]], dict[str, Any] | None]
    """Options deduced from a state dict in our names, or None if it is another network's."""
    convert: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    """Published key names to ours; ours pass unchanged."""
    needed: tuple[str, ...]
    """Keys, in our names, without which `detect` sees another network."""
    estimates: Estimate | None = None
    """What its second output is: a degradation ``vector`` in the units of a layout, a blur kernel's
    ``code`` in principal components, the ``kernel`` itself row by row, or nothing."""


FAMILIES: tuple[Family, ...] = (
    Family("DAN", dan.DAN, dan.detect, dan.convert_published, dan.NEEDED, "vector"),
    Family("DANv1", danv1.DANv1, danv1.detect, danv1.convert_published, danv1.NEEDED, "code"),
    Family("DANv2", danv2.DANv2, danv2.detect, danv2.convert_published, danv2.NEEDED, "kernel"),
    Family("DMSR", dmsr.DMSR, dmsr.detect, dmsr.convert_published, dmsr.NEEDED, "kernel"),
    Family("DSSR", dssr.DSSR, dssr.detect, dssr.convert_published, dssr.NEEDED),
    Family("EDSR", edsr.EDSR, edsr.detect, edsr.convert_published, edsr.NEEDED),
    Family("RRDB", rrdb.RRDBNet, rrdb.detect, rrdb.convert_published, rrdb.NEEDED),
)


def family(name: str) -> Family:
    """The family of that name.

    Raises:
        KeyError: There is none.
    """
    return {f.name: f for f in FAMILIES}[name]


def recognise(state: Mapping[str, Tensor]) -> tuple[Family, dict[str, Any], dict[str, Tensor]]:
    """Find the network that a state dict belongs to.

    Args:
        state: Published or our own key names, without wrappings.

    Returns:
        The family, its options and the state dict in our names.

    Raises:
        KeyError: No family has these keys; `nearest` says how far they are from one.
    """
    for candidate in FAMILIES:
        converted = candidate.convert(state)
        options = candidate.detect(converted)
        if options is not None:
            return candidate, options, converted
    raise KeyError("no known network has these keys")


def nearest(state: Mapping[str, Tensor]) -> tuple[Family, list[str]]:
    """What a state dict that is not recognised looks most like.

    Args:
        state: Published or our own key names, without wrappings.

    Returns:
        A family, and those of its `needed` keys that are missing; where these are all of them, the
        state dict has nothing in common with any family.
    """
    missing = {f: [key for key in f.needed if key not in f.convert(state)] for f in FAMILIES}
    closest = min(FAMILIES, key=lambda f: len(missing[f]) / len(f.needed))
    return closest, missing[closest]
