"""Weights files: found, verified, read and written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sr_cli.zoo.manifest import Model, ZooError

WRAPPINGS = ("params_ema", "params", "state_dict", "model", "ema")
"""Keys under which published checkpoints hide their state dict, best first."""


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def locate(model: Model) -> Path:
    """The verified weights file of a model: the bundled one, the Hub's cache, or the Hub.

    Raises:
        ZooError: There are none, they cannot be fetched, or their hash is wrong.
    """
    if model.weights is None:
        raise ZooError(
            f"The model {model.name} has no released weights yet. Train it with "
            f"`sr-cli train {model.recipe}` or choose another from `sr-cli models list`."
        )
    if model.weights.bundled is not None:
        path = Path(str(resources.files("sr_cli") / "weights" / model.weights.bundled))
        if path.is_file():
            _verify(path, model)
            return path
    if model.weights.hub is None:
        raise ZooError(f"The weights of {model.name} are missing here. Reinstall sr-cli.")
    path = fetch(model.weights.hub)
    _verify(path, model)
    return path


def fetch(reference: str) -> Path:
    """A file of the Hugging Face Hub, from its cache where possible.

    Args:
        reference: ``owner/repo/file@revision``; the revision is optional.

    Raises:
        ZooError: The reference is not of that form, or the Hub cannot be reached or has no such
            file.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    address, _, revision = reference.partition("@")
    parts = address.split("/", 2)
    if len(parts) != 3 or not all(parts):
        raise ZooError(f"'hf:{reference}' is not of the form hf:owner/repo/file[@revision].")
    owner, repository, file = parts
    try:
        return Path(hf_hub_download(f"{owner}/{repository}", file, revision=revision or None))
    except LocalEntryNotFoundError:
        raise ZooError(
            f"{file} of {owner}/{repository} is not in the local cache and the Hub cannot be "
            "reached. Connect to the internet, or name a weights file."
        ) from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ZooError(f"Cannot fetch {file} of {owner}/{repository}: {reason}") from None


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A state dict with its header; key names as they are in the file.

    Args:
        path: A ``.safetensors`` file, or a published ``.pth`` / ``.pt`` / ``.ckpt``.

    Returns:
        The tensors on the CPU in float32, and the header's strings (empty for a pickle).

    Raises:
        ZooError: The file is missing, damaged, or wants to run code.
    """
    if not path.is_file():
        raise ZooError(f"There is no weights file {path}.")
    if path.suffix == ".safetensors":
        try:
            with safe_open(str(path), "pt") as file:
                state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                header = dict(file.metadata() or {})
        except (SafetensorError, OSError) as error:
            raise ZooError(f"{path} is not a whole safetensors file ({error}).") from None
    else:
        state, header = _read_pickle(path), {}
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}, header


def write(
    path: Path, state: Mapping[str, Tensor], network: str, options: Mapping[str, Any], **facts: str
) -> None:
    """Write float16 weights with everything in the header that loading them needs.

    Args:
        path: A ``.safetensors`` file.
        state: The state dict in our names.
        network: The family's name.
        options: The constructor's keywords.
        facts: More header strings: recipe, figures, licence.
    """
    header = {"network": network, "options": json.dumps(dict(options)), **facts}
    half = {key: value.half().contiguous() for key, value in state.items()}
    save_file(half, path, metadata=header)
    path.chmod(0o644)  # as any file that is to be shared, not as a private temporary one


def _verify(path: Path, model: Model) -> None:
    assert model.weights is not None
    found = sha256(path)
    if found != model.weights.sha256:
        raise ZooError(
            f"{path} is not the weights file of {model.name}: its sha256 is {found}, not "
            f"{model.weights.sha256}. Delete it and fetch or install it again."
        )


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise ZooError(
            f"{path} cannot be read as plain tensors, or wants to run code, and is refused: "
            f"{reason}"
        ) from None
    while isinstance(content, dict):
        inner = next(
            (content[key] for key in WRAPPINGS if isinstance(content.get(key), dict)), None
        )
        if inner is None:
            break
        content = inner
    if not isinstance(content, dict):
        raise ZooError(f"{path} holds no state dict.")
    return {
        key.removeprefix("module."): value
        for key, value in content.items()
        if isinstance(value, Tensor)
    }
