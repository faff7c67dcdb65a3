"""Two models in one: the networks between them.  Imports no torch by itself.

Weights that were trained on from each other lie on a line of which every point is a network (Wang
et al., "ESRGAN", Sec. 3.4), so that sharpness can be had in any measure.
"""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sr_cli.zoo.manifest import ZooError

if TYPE_CHECKING:
    from sr_cli.zoo.loading import LoadedModel

_FORM = re.compile(r"(?P<first>[^+]+)\+(?P<second>[^+]+):(?P<share>\d+\.?\d*|\.\d+)")
_MEANT = re.compile(r"[\w-]+\+[\w-]+(:.*)?(?<!\.onnx)")
"""Two names of the manifest, and no file's: what cannot be read was meant as a mixture.  A file in
which a mixture was exported is called so, too."""


@dataclasses.dataclass(frozen=True)
class Mixture:
    """What is to be mixed."""

    first: str
    second: str
    share: float
    """Of the second, 0 to 1."""


def parse(name: str) -> Mixture | None:
    """The mixture that ``FIRST+SECOND:SHARE`` names; None if a name is none.

    Raises:
        ZooError: The share is more than the whole, or is missing.
    """
    found = _FORM.fullmatch(name)
    if found is None:
        if _MEANT.fullmatch(name):
            raise ZooError(
                f"{name} is no mixture of two models: write FIRST+SECOND:SHARE with a share of the "
                "second from 0 to 1, such as :0.3."
            )
        return None
    share = float(found["share"])
    if share > 1:
        raise ZooError(f"{name}: the share of {found['second']} must be from 0 to 1.")
    return Mixture(found["first"], found["second"], share)


def short(name: str) -> str:
    """A model's name without the folders of files: nobody else need know where they are kept."""
    mixture = parse(name)
    if mixture is None:
        return re.split(r"[/\\]", name)[-1]
    return f"{short(mixture.first)}+{short(mixture.second)}:{mixture.share:g}"


def mixed(first: LoadedModel, second: LoadedModel, share: float, name: str) -> LoadedModel:
    """A model whose weights lie between those of two others.

    Args:
        first: One end.
        second: The other end.
        share: Of the second, 0 to 1.
        name: What to call it.

    Returns:
        The model.  Of its estimates the worse of both is told: nobody has measured in between.

    Raises:
        ZooError: They are different networks.
    """
    from sr_cli.zoo.weights import misfit

    network = copy.deepcopy(first.network)
    ours, theirs = network.state_dict(), second.network.state_dict()
    kinds = {(type(some), getattr(some, "iterations", None)) for some in (network, second.network)}
    if len(kinds) > 1 or misfit((ours, theirs)) is not None:
        raise ZooError(
            f"{first.name} and {second.name} are different networks, and only weights of the same "
            "one can be mixed."
        )
    network.load_state_dict(
        {
            key: value.lerp(theirs[key], share) if value.is_floating_point() else value
            for key, value in ours.items()
        }
    )
    estimate: Mapping[str, Mapping[str, float]] = {
        key: min((skill, second.estimate[key]), key=lambda some: some["correlation"])
        for key, skill in first.estimate.items()
        if key in second.estimate
    }
    layout = first.layout if first.layout == second.layout else None
    return dataclasses.replace(
        first, name=name, network=network.eval(), layout=layout, estimate=estimate
    )
