"""Both ways between our networks and spandrel, the loader of ComfyUI, chaiNNer and others.

`install` makes spandrel read our files.  `load` lends us its networks: ESRGAN, SwinIR, SPAN and
dozens more run through the same engine, without an estimate of what was wrong.

The ``spandrel`` extra installs it: ``pip install 'sr-cli[spandrel]'``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from sr_cli.networks.family import Family
from sr_cli.networks.registry import FAMILIES
from sr_cli.networks.stages import SuperResolver
from sr_cli.zoo import compact
from sr_cli.zoo.manifest import ZooError

PREFIX = "sr-cli-"
"""Of our architectures' ids, so that they never meet spandrel's own."""


class SpandrelNetwork(SuperResolver):
    """A network of spandrel's in our interface: one picture in, one larger picture out.

    It says nothing of how it may be cut, so tiles of it overlap widely and are blended.
    """

    def __init__(self, descriptor: Any) -> None:
        super().__init__()
        self.network: nn.Module = descriptor.model
        self.scale = int(descriptor.scale)
        self.architecture = str(descriptor.architecture.name)
        """As spandrel calls it."""
        self._descriptor = descriptor

    def forward(self, lr: Tensor) -> tuple[Tensor, None]:
        """Super-resolve, see `SuperResolver.forward`; the second value is None.

        Pads to what the network requires, cuts that off again, and clamps to [0, 1].
        """
        return self._descriptor(lr), None


def install() -> list[str]:
    """Register our networks with spandrel's main registry.

    Files are told apart by their keys as in `sr_cli.networks.registry`; what keys do not tell (the
    number of iterations) is as published, since spandrel does not read headers.  A file that
    spandrel's own ESRGAN reads stays its own.  Calling it again changes nothing.

    Returns:
        The ids that were added.

    Raises:
        ZooError: spandrel is not installed, or cannot be imported.
    """
    spandrel = _import()
    registry = spandrel.MAIN_REGISTRY
    own = registry["ESRGAN"].detect
    everything = tuple(support.architecture.id for support in registry)
    added = registry.add(
        *(
            spandrel.ArchSupport(
                architecture,
                lambda state, one=architecture: one.detect(state) and not own(state),
                # Broad patterns of theirs would claim some of our files.
                before=everything,
            )
            for architecture in (_architecture(spandrel, family) for family in FAMILIES)
        ),
        ignore_duplicates=True,
    )
    return [str(support.architecture.id) for support in added]


def load(state: Mapping[str, Tensor], path: Path) -> SpandrelNetwork | None:
    """A state dict of a network that spandrel knows.

    Args:
        state: As in the file, without wrappings.
        path: Of the file, for errors.

    Returns:
        The network in evaluation mode on the CPU, float32; None if spandrel does not know it.

    Raises:
        ZooError: spandrel is not to be had; or it knows the network, but that does not make one
            RGB picture of another.
    """
    spandrel = _import()
    try:
        descriptor = spandrel.ModelLoader().load_from_state_dict(dict(state))
    except spandrel.UnsupportedModelError:
        return None
    # It deduces sizes by hand for some fifty networks, and fails on odd files in as many ways.
    except Exception as error:
        raise ZooError(
            f"spandrel cannot load {path} ({type(error).__name__}: {str(error)[:200]})."
        ) from None
    name = descriptor.architecture.name
    pictures = isinstance(descriptor, spandrel.ImageModelDescriptor)
    if not pictures or (descriptor.input_channels, descriptor.output_channels) != (3, 3):
        raise ZooError(f"{path} is of {name}, which does not turn one RGB picture into another.")
    return SpandrelNetwork(descriptor.float().eval()).eval()


def _architecture(spandrel: ModuleType, family: Family) -> Any:
    """A family as spandrel's kind of architecture."""

    class Ours(spandrel.Architecture):  # type: ignore[misc, name-defined]  # known at run time only
        def __init__(self) -> None:
            super().__init__(
                id=PREFIX + family.name, name=f"{family.name} (sr-cli)", detect=_detector(family)
            )

        def load(self, state_dict: dict[str, Any]) -> Any:
            state = family.convert(compact.unpacked(state_dict))
            options = family.options(state)
            assert options is not None  # detected before
            network = family.build(**options)
            tiling = spandrel.ModelTiling
            return spandrel.ImageModelDescriptor(
                network,
                state,
                architecture=self,
                purpose="SR",
                tags=[f"{key} {value}" for key, value in options.items()],
                # Half precision rounds away the faint traces that estimators live on.
                supports_half=False,
                supports_bfloat16=True,
                scale=network.scale,
                input_channels=3,
                output_channels=3,
                # Averages over the picture are not the same in a tile.
                tiling=tiling.SUPPORTED if _is_local(network) else tiling.DISCOURAGED,
                call_fn=lambda model, image: model(image)[0],
            )

    return Ours()


def _detector(family: Family) -> Any:
    def detect(state: dict[str, Any]) -> bool:
        tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
        try:
            tensors = compact.unpacked(tensors)
        except ValueError:
            return False
        return family.options(family.convert(tensors)) is not None

    return detect


def _is_local(network: SuperResolver) -> bool:
    stages = network.stages()
    return bool(stages) and all(stage.kind == "map" for stage in stages)


def _import() -> ModuleType:
    try:
        import spandrel
    except ModuleNotFoundError:
        raise ZooError(
            "spandrel, which reads many other networks, is not installed: "
            "`pip install 'sr-cli[spandrel]'`."
        ) from None
    # A torchvision that was built for another torch fails with whatever comes to its mind.
    except Exception as error:
        raise ZooError(
            f"spandrel, which reads many other networks, does not start ({str(error)[:200]}). "
            "Install the torchvision that belongs to your torch."
        ) from None
    return spandrel
