"""The mean of several runs' weights.

Runs that began with the same weights and saw other batches differ by their noise, and some of it is
gone from their mean, as it is with larger batches.  The mean of runs with different starts is no
network at all: so measure it.  Between a run and what it began with lies what it did in part: so
is a GAN's network made less bold.

    python -m training.average RUN-A/ema.safetensors RUN-B/ema.safetensors --out start.safetensors
    python -m training.average GAN/ema.safetensors BEFORE.safetensors --shares 3 7 --out OUT
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from sr_cli.zoo import weights
from sr_cli.zoo.manifest import ZooError

OF_ONE_RUN = ("step", "phase", "steps", "seconds", "device")
"""Facts of a file's header that are not true of a mean."""


def mean(
    states: Sequence[dict[str, Tensor]], shares: Sequence[float] | None = None
) -> dict[str, Tensor]:
    """The mean of every tensor, in float32.

    Args:
        states: State dicts of one network, at least one.
        shares: How much each counts, in any unit; all alike if this is left out.

    Returns:
        As any of them; what is not of a floating-point type is the first one's.

    Raises:
        ValueError: Their names or shapes differ (the message names the first tensor that does), or
            there is not one share for each, none below zero and some above.
    """
    shares = shares or [1.0] * len(states)
    if len(shares) != len(states):
        raise ValueError(f"{len(shares)} shares for {len(states)} files: give one for each")
    if not (all(share >= 0 for share in shares) and 0 < sum(shares) < math.inf):
        raise ValueError("shares must not be below zero, nor all be zero")
    part = torch.tensor([share / sum(shares) for share in shares])
    if (name := weights.misfit(states)) is not None:
        raise ValueError(f"'{name}' is not in all of them with the same shape")
    return {
        name: torch.tensordot(part, torch.stack([state[name].float() for state in states]), 1)
        if value.is_floating_point()
        else value
        for name, value in states[0].items()
    }


def _kind(path: Path, header: Mapping[str, str]) -> tuple[str | None, int | None]:
    """Family and number of iterations, as far as a header says."""
    return header.get("network"), weights.told_options(header, path).get("iterations")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m training.average", description=__doc__)
    parser.add_argument("weights", type=Path, nargs="+", help="runs' ema.safetensors")
    parser.add_argument("--shares", type=float, nargs="+", help="how much each counts; else alike")
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT")
    options = parser.parse_args(arguments)
    if options.out.suffix.lower() != ".safetensors":
        parser.error(f"--out {options.out} must end in .safetensors")
    if options.out.exists() and not options.overwrite:
        parser.error(f"{options.out} is there already; --overwrite replaces it")
    try:
        files = [weights.read(path) for path in options.weights]
        state = mean([state for state, _ in files], options.shares)
        kinds = {_kind(path, of) for path, (_, of) in zip(options.weights, files, strict=True)}
        if len(kinds) > 1:
            # Their tensors have the same shapes, and mean something else.
            parser.error("they are of different networks, or were trained for other iterations")
    except (ZooError, ValueError) as error:
        parser.error(str(error))
    header = files[0][1]
    if "network" not in header or "options" not in header:
        parser.error(f"{options.weights[0]} does not say which network it is of")
    try:
        kept = {k: v for k, v in weights.own_header(header).items() if k not in OF_ONE_RUN}
        weights.write_with(options.out, state, kept, keep=not options.overwrite)
    except OSError as error:
        parser.error(f"{options.out} cannot be written: {error.strerror}")
    sys.stdout.write(f"wrote the mean of {len(files)} to {options.out}\n")


if __name__ == "__main__":
    main()
