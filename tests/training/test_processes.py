"""Several processes learn what one would."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import Outcome
from training.initial import build_network
from training.processes import Processes
from training.recipe import load_recipe

ASSETS = Path(__file__).parents[1] / "assets"
RECIPE = (
    *("network.features=8", "network.blocks=1", "phase.0.batch=4", "phase.0.lr_crop=24"),
    *("data.pool=0", "phase.0.steps=100", "optimiser.clip=3.0", "validation.crop=96"),
)


def train(out: Path, *more: str) -> list[str]:
    """Arguments of a small run; its pool is the batch, so that who holds a pair makes no odds."""
    changes = [part for change in RECIPE for part in ("--set", change)]
    run = ["train", "dan-blur-x4", "--data", str(ASSETS), "--val", str(ASSETS), *changes]
    return [*run, "--out", str(out), "--precision", "fp32", *more]


def in_two_processes(*arguments: str) -> subprocess.CompletedProcess[str]:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [sys.executable, *launcher, "-m", "sr_cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_two_processes_learn_what_one_does_with_the_whole_batch(
    program: Callable[..., Outcome], tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert program(*train(one, "--steps", "10")).status == 0
    done = in_two_processes(*train(two, "--steps", "10"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("stopped at step 10") == 1  # one of them speaks
    ours, theirs = (load_file(run / "ema.safetensors") for run in (two, one))
    # Gradients are sums in another order, of which Adam's first steps make much.
    assert max(float((ours[k] - theirs[k]).abs().max()) for k in theirs) < 2e-5
    fresh = build_network(load_recipe("dan-blur-x4", RECIPE)).state_dict()
    assert max(float((theirs[k] - fresh[k]).abs().max()) for k in theirs) > 5e-4
    # What two have begun, one may end.
    alone = program(*train(two, "--steps", "12", "--resume"))
    assert alone.status == 0 and "resumed at step 10" in alone.err


@pytest.mark.parametrize(("count", "ours"), [(1, "cuda:1"), (2, "cuda:0")])
def test_the_gpu_that_is_computed_on_is_the_current_one(
    monkeypatch: pytest.MonkeyPatch, count: int, ours: str
) -> None:
    state = SimpleNamespace(num_processes=count, process_index=0, device=torch.device("cuda:0"))
    monkeypatch.setattr("training.processes.PartialState", lambda cpu: state)
    current: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    assert Processes(torch.device("cuda:1")).device == torch.device(ours)
    assert current == [torch.device(ours)]
    state.device = torch.device("cpu")
    for named in ("cuda", "cpu"):  # whichever is current, and none
        if count == 1:
            Processes(torch.device(named))
    assert current == [torch.device(ours)]


def test_a_batch_that_cannot_be_shared_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    processes = Processes(torch.device("cpu"))
    monkeypatch.setattr(processes, "count", 3)
    monkeypatch.setattr(processes, "index", 1)
    assert processes.share(6) == slice(2, 4)
    with pytest.raises(ValueError, match="cannot be divided among 3 processes"):
        processes.share(4)
