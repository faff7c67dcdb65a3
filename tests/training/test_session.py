"""What a session sees to before it trains."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from training.session import HOST_THREADS, spare_threads


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
