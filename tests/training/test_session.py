"""What a session sees to before it trains."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.training.conftest import CPU
from training.options import Options
from training.schema import Recipe
from training.session import HOST_THREADS, run_session, spare_threads


def test_a_budget_that_ends_before_the_decay_can_begin_is_told(
    small: Recipe, photographs: Path, tmp_path: Path
) -> None:
    def ended(**options: object) -> str:
        how = Options(half=False, **options)  # type: ignore[arg-type]
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        return run_session(
            *(small, [photographs], None, folder, CPU),
            options=how,
            resume=False,
            tell=lambda _: None,
            bar=lambda *_: None,
        )

    assert "(the budget ended before" in ended(time_budget=0, finish=True)
    assert "budget" not in ended(time_budget=1e9, last_step=2, finish=True)
    assert "budget" not in ended(time_budget=0)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_beside_a_gpu_few_threads_are_left_to_the_processor() -> None:
    torch.set_num_threads(HOST_THREADS + 2)
    spare_threads(torch.device("cpu"))
    assert torch.get_num_threads() == HOST_THREADS + 2
    spare_threads(torch.device("cuda"))
    assert torch.get_num_threads() == HOST_THREADS
    torch.set_num_threads(1)
    spare_threads(torch.device("cuda"))
    assert torch.get_num_threads() == 1  # as was asked for
