"""How much memory there is, as Linux, its containers and a GPU say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sr_cli.inference import memory

GIB = 2**30
LINUX = pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="Linux alone says so")


@LINUX
@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"memory.max": "max", "memory.current": "5"}, None),
        ({"memory.max": "4000", "memory.current": "1000"}, 3000),
        ({"memory.max": "4000", "memory.current": "9000"}, 0),
        # Files that were read are in memory as long as nobody else needs it.
        (
            {
                "memory.max": "4000",
                "memory.current": "3900",
                "memory.stat": "anon 900\nfile 3000\ninactive_file 2500\nactive_file 500\n",
            },
            2600,
        ),
        (
            {
                "memory/memory.limit_in_bytes": "4000",
                "memory/memory.usage_in_bytes": "3900",
                "memory/memory.stat": "inactive_file 7\ntotal_inactive_file 2500\n",
            },
            2600,
        ),
    ],
    ids=["none", "limit", "beyond", "cache", "first version"],
)
def test_a_container_is_asked_what_it_may_take(
    files: dict[str, str],
    expected: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "GROUP", tmp_path)
    whole = memory.free_memory("cpu")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = memory.free_memory("cpu")
    assert found == expected if expected is not None else found > whole // 2


def test_a_machine_says_what_is_available_or_has_half_of_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "GROUP", tmp_path)
    monkeypatch.setattr(memory, "Path", lambda name: tmp_path / Path(name).name)
    pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1000}
    monkeypatch.setattr("os.sysconf", pages.__getitem__, raising=False)
    assert memory.free_memory("cpu") == 4096 * 1000 // 2
    lines = ("MemTotal: 900 kB", "MemFree: 100 kB", "MemAvailable: 500 kB", "Buffers: 7 kB")
    (tmp_path / "meminfo").write_text("\n".join(lines))
    assert memory.free_memory("cpu") == 500 * 1024
    # What a container leaves may be more than there is.
    for left, expected in ((10**9, 500 * 1024), (1000, 1000)):
        (tmp_path / "memory.max").write_text(str(left + 5))
        (tmp_path / "memory.current").write_text("5")
        assert memory.free_memory("cpu") == expected
        assert memory.feature_limit("cpu") == expected // 2


def test_what_the_allocator_of_a_gpu_keeps_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1 * GIB, 8 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 6 * GIB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 2 * GIB)
    assert memory.free_memory("cuda:0") == 5 * GIB
    assert memory.automatic_tile("cuda:0") == 256


def test_a_torch_without_cuda_is_not_asked_about_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime may have one all the same."""

    def refused(_: object) -> int:
        raise AssertionError("Torch not compiled with CUDA enabled")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for question in ("mem_get_info", "memory_reserved", "memory_allocated"):
        monkeypatch.setattr(torch.cuda, question, refused)
    assert memory.free_memory("cuda:0") > 0
    assert memory.automatic_tile("cuda:0") >= 32
