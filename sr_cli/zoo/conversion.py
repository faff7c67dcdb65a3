"""Published checkpoints to safetensors, without loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sr_cli import __version__
from sr_cli.zoo import store, weights
from sr_cli.zoo.loading import fitting, recognise


@dataclass(frozen=True)
class Converted:
    """What a conversion wrote."""

    path: Path
    network: str
    """Name of the family."""
    options: Mapping[str, Any]
    parameters: int
    """Numbers in all tensors, buffers included."""
    sha256: str
    source_sha256: str


def convert(source: Path, target: Path, *, overwrite: bool = False) -> Converted:
    """Write the weights of any recognised file in our names, every tensor to the bit.

    The header says of which network they are, and of which file with which hash they were made.

    Args:
        source: A ``.pth`` / ``.pt`` / ``.ckpt`` or ``.safetensors`` file.
        target: A ``.safetensors`` file, which appears whole or not at all.
        overwrite: Whether a file that is there already may be replaced.

    Raises:
        ZooError: The source is refused, not recognised or does not fit its network, or the target
            may not be written.
        AppearedError: A file has come to be there meanwhile, and was not to be replaced.
    """
    weights.writable(target, overwrite=overwrite)
    known = recognise(source)
    fitting(known, source)
    kept = {k: v for k, v in known.header.items() if k not in ("network", "options", "format")}
    digest = store.sha256(source)
    facts = kept | {
        "source": source.name,
        "source_sha256": digest,
        "converted_by": f"sr-cli {__version__}",
    }
    header = weights.header_of(known.family.name, known.options, **facts)
    weights.write_with(target, known.state, header, keep=not overwrite)
    return Converted(
        target,
        known.family.name,
        known.options,
        sum(tensor.numel() for tensor in known.state.values()),
        store.sha256(target),
        digest,
    )
