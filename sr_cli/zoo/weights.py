"""Weights files, read and written: safetensors, and the pickles that checkpoints come as."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sr_cli.temporary import replacing, sweep
from sr_cli.zoo import compact
from sr_cli.zoo.manifest import ZooError

SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt")
"""Endings of the files that `read` reads."""

WRAPPINGS = ("params_ema", "params", "state_dict", "model", "ema")
"""Keys under which published checkpoints hide their state dict, best first."""

MOST_SHARED = 16
"""How many times on average numbers may be used: layers that share weights do so."""
LARGEST = 8 * 2**30
"""Bytes.  No network that this program runs comes near it; a claim of more is damage or malice."""
_LONGEST_HEADER = 100_000_000
"""Bytes of a safetensors file's header; its library reads no longer one."""
_ITSELF = "Fetch the weights file itself, not a page about it."


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A state dict with its header, as they are in the file.

    Args:
        path: A ``.safetensors`` file, or a published ``.pth`` / ``.pt`` / ``.ckpt``.

    Returns:
        The tensors on the CPU in their own types (in float32 those that the file has in eight
        bits), without wrappings and ``module.`` prefixes, and the header's strings (empty for a
        pickle).

    Raises:
        ZooError: The file is missing, damaged, too large, of another kind than its name says, or
            wants to run code.
    """
    if path.is_dir():
        raise ZooError(f"{path} is a folder. Name a weights file in it.")
    if not path.is_file():
        raise ZooError(f"There is no weights file {path}. Check the name.")
    if path.stat().st_size > LARGEST:
        raise ZooError(f"{path} is larger than any weights file of this program, and is refused.")
    kind = _kind(path)
    if path.suffix.lower() != ".safetensors":
        if kind == "safetensors":
            raise ZooError(f"{path} is a safetensors file. Name it so (.safetensors).")
        if kind == "other":
            raise _no_checkpoint(path)
        return _read_pickle(path), {}
    if kind == "torch":
        raise ZooError(
            f"{path} is a checkpoint as torch saves them, no safetensors file. Name it so (.pth)."
        )
    if kind == "other":
        raise ZooError(f"{path} is no safetensors file. {_ITSELF}")
    try:
        return _read_safetensors(path)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise ZooError(
            f"{path} is not a whole safetensors file ({_first_line(error)}). Fetch it again."
        ) from None


def _kind(path: Path) -> Literal["safetensors", "torch", "other"]:
    """What a file is by its first bytes, whatever its name says.

    Raises:
        ZooError: It is empty or cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise ZooError(f"{path} cannot be read: {error.strerror}.") from error
    if not head:
        raise ZooError(f"{path} is empty. Fetch it again.")
    # First, since the length of the header can look like a pickle's first bytes.
    if head[8:] == b"{" and int.from_bytes(head[:8], "little") <= _LONGEST_HEADER:
        return "safetensors"
    pickles = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
    return "torch" if head.startswith((b"PK\x03\x04", *pickles)) else "other"


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(str(path), "pt") as file:
        header = dict(file.metadata() or {})
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    version = header.pop(compact.HEADER, None)
    if version not in (None, compact.VERSION):
        raise ZooError(
            f"{path} holds its weights in a form that this sr-cli does not know. Install a newer "
            "one."
        )
    return compact.unpacked(state) if version else state, header


def write(
    path: Path, state: Mapping[str, Tensor], network: str, options: Mapping[str, Any], **facts: str
) -> None:
    """Write weights with everything in the header that loading them needs; large ones in float16.

    The file appears whole or not at all, and replaces one that is there.

    Args:
        path: A ``.safetensors`` file.
        state: The state dict in our names.
        network: The family's name.
        options: The constructor's keywords.
        facts: More header strings: recipe, figures, licence.
    """
    write_exact(path, _half(state), network, options, **facts)


def write_compact(
    path: Path, state: Mapping[str, Tensor], network: str, options: Mapping[str, Any], **facts: str
) -> None:
    """As `write`, with the large tensors in eight bits (`compact`), so half as large.

    Raises:
        ValueError: A weight is not finite.
    """
    facts[compact.HEADER] = compact.VERSION
    write_exact(path, compact.packed(_half(state)), network, options, **facts)


def write_exact(
    path: Path, state: Mapping[str, Tensor], network: str, options: Mapping[str, Any], **facts: str
) -> None:
    """As `write`, with every tensor in its own type."""
    write_with(path, state, header_of(network, options, **facts))


def header_of(network: str, options: Mapping[str, Any], **facts: str) -> dict[str, str]:
    """A file's header; arguments as of `write`."""
    return {"network": network, "options": json.dumps(dict(options)), **facts}


def write_with(
    path: Path, state: Mapping[str, Tensor], header: Mapping[str, str], *, keep: bool = False
) -> None:
    """As `write_exact`, with a header that there is already (`header_of`, `read`).

    Raises:
        AppearedError: There is a file by then, and it was to be kept.
    """
    # Copies, since safetensors refuses tensors that share memory, as tied weights do.
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in state.items()}
    content = _in_order(save(tensors, metadata=dict(header)))
    sweep(path.parent)
    with replacing(path, keep=keep) as stream:
        stream.write(content)


def _half(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Large tensors in float16.

    Small ones are worth no room, and among them is the head of high-pass filters, weights of up to
    16 whose sum is what they make of flat ground: in float16 it comes out brighter.
    """
    return {
        name: value.half()
        if value.is_floating_point() and value.numel() >= compact.SMALLEST
        else value
        for name, value in state.items()
    }


def own_header(header: Mapping[str, str]) -> dict[str, str]:
    """A header for weights that have been changed: not those of another file any more."""
    return {key: value for key, value in header.items() if not key.startswith("source")}


def misfit(states: Sequence[Mapping[str, Tensor]]) -> str | None:
    """The first tensor that is not in all state dicts with the same shape; None if all are."""
    first = states[0]
    for other in states[1:]:
        for name in first.keys() | other.keys():
            if name not in first or name not in other or first[name].shape != other[name].shape:
                return name
    return None


def digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors' names, shapes and values in float32: what figures are figures of."""
    found = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        found.update(f"{name} {list(tensor.shape)}\n".encode())
        found.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return found.hexdigest()


def told_options(header: Mapping[str, str], path: Path) -> dict[str, Any]:
    """The constructor's keywords that a header tells; none if it does not.

    Raises:
        ZooError: They are no table.
    """
    try:
        told = json.loads(header.get("options", "{}"))
    except json.JSONDecodeError:
        told = None
    if not isinstance(told, dict):
        raise senseless(path)
    return told


def senseless(path: Path) -> ZooError:
    """The complaint about a header whose options cannot be."""
    return ZooError(f"{path} has a header whose options make no sense. Fetch the file again.")


def _in_order(content: bytes) -> bytes:
    """The same safetensors file with its header's strings sorted.

    The library writes them in another order every time, and the same weights would have another
    hash.
    """
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight bytes
    return len(text).to_bytes(8, "little") + text + content[start:]


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        _check_claims(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters is said below, in our words
            content = torch.load(path, map_location="cpu", weights_only=True)
    except ZooError:
        raise
    except pickle.UnpicklingError as error:
        raise ZooError(_refusal(path, error)) from error
    # Damaged files make torch raise almost anything.
    except Exception as error:
        raise ZooError(_damage(path)) from error
    state = unwrapped(content)
    if not state:
        raise ZooError(f"{path} holds no state dict: a mapping from names to tensors is needed.")
    for key, tensor in state.items():
        if not _is_plain(tensor):
            raise ZooError(
                f"{path} holds {key} in a form that is not read: quantised, sparse, complex, "
                "repeated or without content. Ask for the weights as plain numbers."
            )
    _check_sharing(state, path)
    return state


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is an array of real numbers."""
    odd = tensor.is_quantized or tensor.is_complex() or tensor.is_meta or tensor.is_nested
    if odd or tensor.layout is not torch.strided:
        return False
    # One number that is said to lie everywhere would take gigabytes as soon as it is copied.
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _check_sharing(state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse many names for the same numbers: each is a copy of its own in a network."""
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    stores = [tensor.untyped_storage() for tensor in state.values()]
    held = {store.data_ptr(): store.nbytes() for store in stores}
    if claimed > MOST_SHARED * sum(held.values()):
        raise ZooError(f"{path} holds the same numbers under very many names, and is refused.")


def _check_claims(path: Path) -> None:
    """Refuse an archive that would unpack to more than any checkpoint holds."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    claimed = sum(entry.file_size for entry in entries)
    if claimed > LARGEST:
        raise ZooError(f"{path} claims to hold {claimed / 1e9:.0f} GB, and is refused.")
    if not any(entry.filename.endswith("data.pkl") for entry in entries):
        raise _no_checkpoint(path)
    if any(entry.filename.split("/")[1:2] == ["code"] for entry in entries):
        raise ZooError(
            f"{path} is a TorchScript program, which would have to be run. Ask for its weights, "
            "best as .safetensors."
        )
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        # torch stores plainly; of zeros, a few packed kilobytes would make gigabytes.
        raise ZooError(f"{path} is a packed archive, as torch writes none, and is refused.")


def unwrapped(content: object) -> dict[str, Tensor]:
    """The state dict within a checkpoint's wrappings; empty if there is none.

    Args:
        content: What a checkpoint holds: a state dict, or one under a key of `WRAPPINGS`, beside
            optimiser states and the like.
    """
    for _ in WRAPPINGS:  # not for ever: a pickle can hold a mapping that is its own value
        if not isinstance(content, dict):
            break
        inner = next((content[k] for k in WRAPPINGS if isinstance(content.get(k), dict)), None)
        content = content if inner is None else inner
    if not isinstance(content, dict):
        return {}
    tensors = {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, Tensor)}
    # From DataParallel: on all keys, or it is a name of the network's own.
    while tensors and all(key.startswith("module.") for key in tensors):
        tensors = {key.removeprefix("module."): value for key, value in tensors.items()}
    return tensors


def _refusal(path: Path, error: pickle.UnpicklingError) -> str:
    """A refusal of torch's, which is a page long, in two sentences."""
    text = str(error)
    if found := re.search(r"GLOBAL (\w[\w.]*)", text):
        return (
            f"{path} is refused: beside tensors it holds {found[1]}, and loading that would run "
            "code. Only plain tensors are read; ask for the weights as .safetensors."
        )
    if found := re.search(r"Unsupported \w+ [^\n]*", text):
        return (
            f"{path} is refused: its pickle does more than to hold tensors ({found[0].strip()}). "
            "Ask for the weights as .safetensors."
        )
    return _damage(path)


def _damage(path: Path) -> str:
    return f"{path} is damaged or cut short. Fetch it again."


def _no_checkpoint(path: Path) -> ZooError:
    return ZooError(f"{path} is no checkpoint that torch has saved. {_ITSELF}")


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")[:200]


def writable(path: Path, *, overwrite: bool) -> None:
    """Check that a weights file may be written.

    Raises:
        ZooError: It has another ending than ``.safetensors``, is a folder, exists and must not be
            replaced, or its folder cannot be written to.
    """
    if path.suffix.lower() != ".safetensors":
        raise ZooError(f"{path} must end in .safetensors, the only kind of file written.")
    if path.is_dir():
        raise ZooError(f"{path} is a folder; name a file.")
    if path.exists() and not overwrite:
        raise ZooError(f"{path} exists already; --overwrite replaces it.")
    if not os.access(path.parent, os.W_OK):
        raise ZooError(f"The folder {path.parent} is not there or cannot be written to.")
