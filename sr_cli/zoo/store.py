"""Where weights files are, and whether they are what they should be.  Needs no torch."""

from __future__ import annotations

import hashlib
import importlib.util
from importlib import resources
from pathlib import Path

from sr_cli.zoo import hub
from sr_cli.zoo.manifest import Model, ZooError


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def locate(model: Model) -> Path:
    """The verified weights file of a model: the bundled one, the Hub's cache, or the Hub.

    Raises:
        ZooError: There are none, they cannot be fetched, or their hash is wrong.  A wrong file of
            the Hub's cache has been deleted then, so that the next try fetches it anew.
    """
    if model.weights is None:
        raise ZooError(how_to_get(model))
    bundled = _bundled(model)
    if bundled is not None:
        if (found := sha256(bundled)) != model.weights.sha256:
            raise ZooError(f"{_wrong(bundled, model, found)} Reinstall sr-cli.")
        return bundled
    if model.weights.hub is None:
        raise ZooError(f"The weights of {model.name} are missing here. Reinstall sr-cli.")
    path = hub.fetch(model.weights.hub)
    if (found := sha256(path)) != model.weights.sha256:
        hub.forget(path)
        raise ZooError(
            f"{_wrong(path, model, found)} It has been deleted; try again to fetch it anew."
        )
    return path


def here(model: Model) -> Path | None:
    """Where a model's weights are on this machine, if they are; neither fetched nor verified."""
    if model.weights is None:
        return None
    if (bundled := _bundled(model)) is not None:
        return bundled
    return hub.cached(model.weights.hub) if model.weights.hub else None


def how_to_get(model: Model) -> str:
    """Two sentences for users of a model that has no weights."""
    if has_recipe(model.recipe):
        low = " --low DIR" if model.preset == "learned" else ""
        advice = f"Train it with `sr-cli train {model.recipe} --data DIR{low}`"
    else:
        advice = (
            "There is no recipe for it yet either, but a published checkpoint of it works as "
            "--model FILE"
        )
    return (
        f"The model {model.name} has no released weights yet. {advice}; `sr-cli models list` shows "
        "which models are ready."
    )


def has_recipe(name: str) -> bool:
    """Whether a training recipe of that name is installed.  Looks for its file only: reading it
    would need torch.
    """
    training = importlib.util.find_spec("training")
    folders = (training.submodule_search_locations if training else None) or ()
    return any((Path(folder) / "recipes" / f"{name}.toml").is_file() for folder in folders)


def _bundled(model: Model) -> Path | None:
    if model.weights is None or model.weights.bundled is None:
        return None
    path = Path(str(resources.files("sr_cli") / "weights" / model.weights.bundled))
    return path if path.is_file() else None


def _wrong(path: Path, model: Model, found: str) -> str:
    assert model.weights is not None
    return (
        f"{path} is not the weights file of {model.name}: its sha256 is {found}, not "
        f"{model.weights.sha256}."
    )
