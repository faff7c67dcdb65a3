"""A compiled step learns what a called one does."""

from __future__ import annotations

import shutil

import pytest
import torch

from tests.training.conftest import CPU, learner_of
from training.pool import Pairs
from training.recipe import load_recipe

NARROW = ["network.features=4", "network.blocks=2", "phase.0.batch=2", "phase.0.lr_crop=8"]


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a compiler")
def test_compiled_blocks_learn_what_called_ones_do() -> None:
    recipe = load_recipe("edsr-blur-x2", NARROW)
    generator = torch.Generator().manual_seed(0)
    lr, hr = (
        torch.randint(256, (2, 3, n, n), generator=generator, dtype=torch.uint8) for n in (8, 16)
    )
    pairs = Pairs(lr, hr, torch.zeros(2, 0))
    found = []
    for compiled in (False, True):
        learner, _ = learner_of(recipe, CPU, compiled=compiled)
        network = learner.network
        learner.begin(recipe.phase[0])
        losses = [float(learner.step(pairs, 1e-3)["loss"]) for _ in range(3)]
        rewritten = [m for m in network.modules() if m._compiled_call_impl is not None]
        assert len(rewritten) == (3 if compiled else 0)  # two blocks and the enlargement
        assert network.state_dict().keys() == learner.average.network.state_dict().keys()
        found.append(losses)
    assert found[0][2] < found[0][0]
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-6)
