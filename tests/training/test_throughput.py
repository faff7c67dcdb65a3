"""The throughput benchmark counts what it says it counts."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from training import throughput
from training.recipe import load_recipe

NARROW = ["network.features=8", "network.blocks=1", "phase.0.batch=2", "phase.0.lr_crop=24"]


def test_it_counts_the_operations_and_activations_of_a_convolution() -> None:
    recipe = load_recipe("edsr-blur-x4", NARROW)
    corpus = throughput.made_pictures(96)
    assert [picture.shape for picture in corpus.pictures] == [(96, 96, 3)] * 8
    bench = throughput.Bench(recipe, 0, corpus, torch.device("cpu"), half=False, compiled=False)
    found = bench.run(0.1)
    # Multiply-adds of a 3x3 convolution a pixel of its output: 9 * channels in * channels out.
    small = 3 * 8 + 2 * 8 * 8 + 8 * 8 + 8 * 32
    forward = 2 * 9 * 24 * 24 * (small + 4 * 8 * 32 + 16 * 8 * 3)
    first = 2 * 9 * 24 * 24 * 3 * 8  # nothing is sent back to the picture
    assert found.operations == pytest.approx(2 * (3 * forward - first), rel=0.01)
    assert found.activations > 2 * 4 * 8 * 96 * 96  # at least the last feature of two crops
    assert found.real > 0 and found.matrix_product > 0 and found.crops_per_second > 0


def test_it_prints_for_people_and_for_programs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = [part for change in NARROW for part in ("--set", change)]
    arguments = ["throughput", "edsr-blur-x2", *changes, "--seconds", "0.05", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--profile"])
    throughput.main()
    said = capsys.readouterr().out
    assert "600,000 steps of 48 crops" in said and "conv" in said
    monkeypatch.setattr(sys, "argv", [*arguments, "--json"])
    throughput.main()
    assert json.loads(capsys.readouterr().out)["batch"] == 2
