"""Exported models that are kept: what happens to damaged ones, and among threads."""

from __future__ import annotations

import hashlib
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sr_cli.export import cache, making, unrolled
from sr_cli.export.eight_bits import quantised
from sr_cli.inference.errors import InferenceError
from sr_cli.inference.onnx_file import OnnxFile
from sr_cli.networks.dan import DAN
from sr_cli.zoo.manifest import Model, ZooError, find
from tests.export.conftest import source


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"any")
    return path


@pytest.fixture
def made(
    file: OnnxFile, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """The names of models that were exported, which here takes no time."""
    monkeypatch.setattr(cache, "folder", lambda: tmp_path / "kept")
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    names: list[str] = []

    def make(name: str, precision: Any, _: object) -> OnnxFile:
        names.append(name)
        cache._keep(file, digest, precision)
        return file

    monkeypatch.setattr(cache, "_made", make)
    return names


def zeroed(data: bytes, file: OnnxFile) -> bytes:
    """With the largest of its constants wiped out, which ONNX Runtime would run."""
    block = max((one.raw_data for one in file.model.graph.initializer), key=len)
    return data.replace(block, bytes(len(block)))


def renamed(data: bytes, _: OnnxFile) -> bytes:
    """With an operator that nobody knows, which loads and cannot be run."""
    return data.replace(b"LeakyRelu", b"LeakyRelv")


@pytest.mark.parametrize("damage", [zeroed, renamed])
def test_a_file_that_has_changed_is_made_anew(
    damage: Callable[[bytes, OnnxFile], bytes], weights: Path, made: list[str], file: OnnxFile
) -> None:
    cache.exported(str(weights), "fp32")
    (kept,) = cache.folder().iterdir()
    whole = kept.read_bytes()
    assert cache.exported(str(weights), "fp32").model == file.model and len(made) == 1
    kept.write_bytes(damage(whole, file))
    assert kept.read_bytes() != whole
    assert cache.exported(str(weights), "fp32").model == file.model and len(made) == 2
    assert kept.read_bytes() == whole


def test_a_file_whose_name_does_not_tell_its_content_is_replaced(
    weights: Path, made: list[str]
) -> None:
    cache.exported(str(weights), "fp32")
    (kept,) = cache.folder().iterdir()
    old = kept.rename(kept.with_name(kept.name.rpartition("-")[0] + ".onnx"))
    other = old.with_name(old.name.replace("fp32", "int8"))
    other.write_bytes(b"of another precision")
    cache.exported(str(weights), "fp32")
    assert len(made) == 2
    assert {*cache.folder().iterdir()} == {kept, other}


def in_threads(number: int, run: Callable[[], object]) -> list[BaseException]:
    """Run something in several threads at once, and gather what they raise."""
    raised: list[BaseException] = []

    def guarded() -> None:
        try:
            run()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(number)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return raised


def test_threads_that_want_one_model_export_it_once(
    weights: Path, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    look, all_have_looked = cache._kept, threading.Barrier(3)
    looked: set[int] = set()

    def looking(*arguments: Any) -> OnnxFile | None:
        found = look(*arguments)
        if threading.get_ident() not in looked:
            looked.add(threading.get_ident())
            all_have_looked.wait(60)
        return found

    monkeypatch.setattr(cache, "_kept", looking)
    assert in_threads(3, lambda: cache.exported(str(weights), "fp32")) == []
    assert len(made) == 1


class Meeting:
    """Where two threads would meet, if both were let in at a time."""

    def __init__(self) -> None:
        self.barrier = threading.Barrier(2)

    def happens(self) -> None:
        # Then goes on for both, or, for whoever was alone, after a while.
        try:
            self.barrier.wait(0.5)
        except threading.BrokenBarrierError:
            self.barrier.reset()
        else:
            raise AssertionError("two at a time")


def test_two_exports_at_once_take_turns_and_leave_the_streams(
    network: DAN, monkeypatch: pytest.MonkeyPatch
) -> None:
    meeting = Meeting()

    def exported(*_: object) -> None:
        meeting.happens()
        raise ValueError("alone")

    monkeypatch.setattr(unrolled, "_exported", exported)
    before = sys.stdout, sys.stderr, logging.getLogger("torch.onnx").level
    raised = in_threads(2, lambda: unrolled.unrolled(network, 18))
    assert all(isinstance(one, InferenceError) and "alone" in str(one) for one in raised)
    assert len(raised) == 2
    assert (sys.stdout, sys.stderr, logging.getLogger("torch.onnx").level) == before


def test_two_at_once_are_quantised_in_turns(file: OnnxFile) -> None:
    meeting = Meeting()

    def pictures() -> Iterator[NDArray[np.float32]]:
        meeting.happens()
        yield np.zeros((8, 8, 3), np.float32)
        raise ValueError("alone")

    before = logging.getLogger().level
    raised = in_threads(2, lambda: quantised(file.model, file.facts.steps, pictures()))
    assert [str(one) for one in raised] == ["alone"] * 2
    assert logging.getLogger().level == before


def test_what_is_kept_is_what_would_be_written(
    weights: Path, made: list[str], file: OnnxFile
) -> None:
    cache.exported(str(weights), "fp32")
    (kept,) = cache.folder().iterdir()
    assert kept.read_bytes() == making.content(file)
    assert kept.stem.endswith(hashlib.sha256(kept.read_bytes()).hexdigest())


def test_a_model_is_known_by_its_weights_whatever_it_is_called(
    weights: Path, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    named = find("dan-real-x4")
    assert named.weights is not None
    known = replace(named.weights, sha256=hashlib.sha256(weights.read_bytes()).hexdigest())
    models = {"named": replace(named, weights=known), "without": replace(named, weights=None)}

    def found(name: str) -> Model:
        if name not in models:
            raise ZooError(name)
        return models[name]

    monkeypatch.setattr(cache, "find", found)
    monkeypatch.setattr("sr_cli.zoo.hub.fetch", lambda _: weights)
    for name in (str(weights), "hf:some/repo/weights.safetensors", "named"):
        cache.exported(name, "fp32")
    assert made == [str(weights)]
    for name in ("without", "unknown"):
        cache.exported(name, "fp32")
    assert made == [str(weights), "without", "unknown"]


def test_where_nothing_can_be_kept_a_model_is_made_all_the_same(
    weights: Path, made: list[str], file: OnnxFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "folder", lambda: weights / "not" / "a" / "folder")
    for _ in range(2):
        assert cache.exported(str(weights), "fp32") is file
    assert len(made) == 2
    said: list[str] = []
    cache._keep(file, "0" * 64, "fp32", said.append)
    (sentence,) = said
    assert f"could not be kept in {weights / 'not' / 'a' / 'folder'} (Not a directory)" in sentence
    assert "HF_HOME" in sentence


def test_what_differs_from_torch_is_not_kept(
    weights: Path, file: OnnxFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[NDArray[np.float32]] = []

    def made(*_: object, calibration: Iterator[NDArray[np.float32]]) -> OnnxFile:
        shown.append(next(calibration))
        return file

    other = source(DAN(features=8, blocks=5).eval())
    monkeypatch.setattr(cache, "folder", lambda: tmp_path / "kept")
    monkeypatch.setattr(making, "source", lambda _: other)
    monkeypatch.setattr(making, "made", made)
    with pytest.raises(InferenceError, match="differs from torch"):
        cache.exported(str(weights), "int8")
    assert shown and not cache.folder().exists()
