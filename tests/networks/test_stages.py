"""A network's stages, run over the whole picture, compute what the network does."""

from __future__ import annotations

import pytest
import torch

from sr_cli.networks.dan import DAN
from sr_cli.networks.stages import DEGRADATION, SR, run_whole

NETWORKS = {
    "dan": lambda: DAN(),
    "dan-rrdb": lambda: DAN(block="rrdb", estimator="large", blocks=3, features=16),
    "dan-one-segment": lambda: DAN(iterations=1, blocks=4, scale=2),
    "dan-uneven-segments": lambda: DAN(iterations=2, blocks=5, scale=3, features=16),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_stages_compute_what_forward_does(name: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    lr = torch.rand(2, 3, 37, 45)
    with torch.inference_mode():
        sr, vector = network(lr)
        values = run_whole(network.stages(), lr)
    torch.testing.assert_close(values[SR], sr, atol=2e-6, rtol=0)
    torch.testing.assert_close(values[DEGRADATION].flatten(1), vector, atol=2e-6, rtol=0)
