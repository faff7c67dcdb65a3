"""The mean of several runs' weights.

Runs that began with the same weights and saw other batches differ by their noise, and some of it is
gone from their mean, as it is with larger batches.  The mean of runs with different starts is no
network at all: so measure it.

    python -m training.average RUN-A/ema.safetensors RUN-B/ema.safetensors --out start.safetensors
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from sr_cli.zoo import weights
from sr_cli.zoo.manifest import ZooError


def mean(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of every tensor, in float32.

    Args:
        states: State dicts of one network, at least one.

    Returns:
        As any of them; what is not of a floating-point type is the first one's.

    Raises:
        ValueError: Their names or shapes differ; the message names the first tensor that does.
    """
    first = states[0]
    for other in states[1:]:
        for name in first.keys() | other.keys():
            if name not in first or name not in other or first[name].shape != other[name].shape:
                raise ValueError(f"'{name}' is not in all of them with the same shape")
    return {
        name: torch.stack([state[name].float() for state in states]).mean(0)
        if value.is_floating_point()
        else value
        for name, value in first.items()
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m training.average", description=__doc__)
    parser.add_argument("weights", type=Path, nargs="+", help="runs' ema.safetensors")
    parser.add_argument("--out", type=Path, required=True, help="the safetensors file to write")
    options = parser.parse_args(arguments)
    try:
        files = [weights.read(path) for path in options.weights]
        state = mean([state for state, _ in files])
    except (ZooError, ValueError) as error:
        parser.error(str(error))
    header = files[0][1]
    if "network" not in header or "options" not in header:
        parser.error(f"{options.weights[0]} does not say which network it is of")
    weights.write_with(options.out, state, header)
    sys.stdout.write(f"wrote the mean of {len(files)} to {options.out}\n")


if __name__ == "__main__":
    main()
