"""Reference outputs of the published implementations: whole files, or small copies of them."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

HERE = Path(__file__).parents[1] / "reference"
CONDENSED = HERE / "condensed"
WHOLE = os.environ.get("SR_CLI_REFERENCE")
"""A folder of whole files; the tests then compare with these as well."""


def _fill() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fill", HERE / "fill.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fill = _fill()


@dataclass(frozen=True)
class Reference:
    """One published network: what it is, its weights, and what it makes of some inputs."""

    info: Mapping[str, Any]
    state: dict[str, Tensor]
    """Under the published keys."""
    arrays: Mapping[str, NDArray[Any]]

    @property
    def options(self) -> Mapping[str, Any]:
        """The published hyper-parameters."""
        return self.info["hyperparameters"]

    def cases(self) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Names and inputs."""
        for case in self.info["cases"]:
            name = case["name"]
            yield name, {k: torch.from_numpy(self.arrays[f"{name}/in/{k}"]) for k in case["in"]}

    def largest_error(self, case: str, outputs: Mapping[str, Tensor]) -> float:
        """Of all outputs of a case, relative to the largest magnitude in the output."""
        theirs = next(c["out"] for c in self.info["cases"] if c["name"] == case)
        assert set(outputs) == set(theirs)
        errors = []
        for name, ours in outputs.items():
            key = f"{case}/out/{name}"
            values = self.arrays[key]
            assert list(ours.shape) == theirs[name]
            stride, largest = self.info.get("condensed", {}).get(key, (1, np.abs(values).max()))
            difference = ours.numpy().reshape(-1)[::stride] - values.reshape(-1)
            errors.append(float(np.abs(difference).max() / largest))
        return max(errors)


def sources(*names: str) -> list[Any]:
    """Parameters for a test over references: those kept here, and the whole files if given."""
    parameters = []
    for name in names:
        here = HERE if (HERE / f"{name}.json").exists() else CONDENSED
        parameters.append(pytest.param(here / name, id=name))
        if WHOLE:
            parameters.append(pytest.param(Path(WHOLE) / name, id=f"{name}-whole"))
    return parameters


def load(path: Path) -> Reference:
    """Read a reference, a small copy or a whole file.

    Args:
        path: Without a suffix.
    """
    if path.with_suffix(".json").exists():
        info, state, arrays = fill.load_reference(str(path.with_suffix(".json")))
    else:
        with np.load(path.with_suffix(".npz")) as file:
            arrays = dict(file)
        info = json.loads(bytes(arrays.pop("info")))
        constants = {key: arrays.pop(f"const/{key}") for key in info["constants"]}
        shapes = {key: shape for key, shape, _ in info["state"] if key not in constants}
        filled = fill.fill_state(shapes, info["fill"]["gain"], info["fill"]["seed"]) | constants
        state = {k: filled[k].astype(kind).reshape(shape) for k, shape, kind in info["state"]}
    return Reference(info, {k: torch.from_numpy(v) for k, v in state.items()}, arrays)
