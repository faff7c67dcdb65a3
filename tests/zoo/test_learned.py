"""Degradations that were learned are read from published checkpoints, too."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sr_cli.zoo.learned import load_learned
from sr_cli.zoo.manifest import ZooError
from tests.networks.references import load, sources


@pytest.mark.parametrize("path", sources("pdm-2017track1", "pdm-2020track1"))
def test_a_published_degradation_is_read_in_its_authors_names(path: Path, tmp_path: Path) -> None:
    reference = load(path)
    torch.save(reference.state, file := tmp_path / "degradation.pth")
    network = load_learned(file)
    assert not network.training
    assert network.kernel.size == reference.options["kernel_opt"]["ksize"]
    assert (network.noise is None) == (not reference.options["noise_opt"])
    lr, kernels = network.degrade(torch.rand(2, 3, 64, 48), torch.Generator().manual_seed(0))
    assert lr.shape == (2, 3, 16, 12)
    torch.testing.assert_close(lr * 255, (lr * 255).round(), atol=1e-4, rtol=0)
    torch.testing.assert_close(kernels.sum((1, 2)), torch.ones(2))


def test_other_weights_are_refused(tmp_path: Path) -> None:
    torch.save({"head.weight": torch.zeros(3)}, file := tmp_path / "other.pth")
    with pytest.raises(ZooError, match="holds no learned degradation, as a run"):
        load_learned(file)
