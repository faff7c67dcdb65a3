"""Files that were made to harm are refused in a sentence, and do nothing."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from sr_cli.networks import registry
from sr_cli.networks.family import Family
from sr_cli.zoo import weights
from sr_cli.zoo.loading import load
from sr_cli.zoo.manifest import ZooError


class Malice:
    """Creates a file when it is unpickled."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.victim),)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt"])
def test_a_pickle_that_would_create_a_file_is_refused(
    tmp_path: Path, suffix: str, protocol: int
) -> None:
    victim, plain, saved = tmp_path / "victim", tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    plain.write_bytes(pickle.dumps({"head.weight": Malice(victim)}, protocol))
    torch.save({"params": {"head.weight": Malice(victim)}}, saved, pickle_protocol=protocol)
    for path in (plain, saved):
        with pytest.raises(ZooError, match=r"is refused: .*safetensors"):
            load(str(path))
    assert not victim.exists()
    # It would have worked.
    pickle.loads(plain.read_bytes())
    assert victim.exists()


def test_what_a_pickle_wants_is_named(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save({"weight": torch.zeros(1), "args": Path("x")}, path)
    with pytest.raises(
        ZooError, match=r"it holds pathlib\.[\w.]+, and loading that would run code"
    ):
        load(str(path))


def test_an_archive_that_unpacks_to_ten_gigabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"x")
    # Both places where the archive tells the size of its only entry.
    data = bytearray(path.read_bytes())
    central = data.rindex(b"PK\x01\x02")
    data[central + 24 : central + 28] = data[22:26] = struct.pack("<I", 4_000_000_000)
    path.write_bytes(bytes(data))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "LARGEST", 2 * 10**9)
        with pytest.raises(ZooError, match="claims to hold 4 GB"):
            load(str(path))


def test_few_numbers_that_pass_for_many_are_refused(tmp_path: Path) -> None:
    shared, packed, plain = (tmp_path / f"{name}.pth" for name in ("shared", "packed", "plain"))
    zeros = torch.zeros(1000)
    torch.save({f"k{n}": zeros for n in range(1000)}, shared)
    with pytest.raises(ZooError, match="same numbers under very many names"):
        weights.read(shared)
    torch.save({"k": zeros}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as to:
        for entry in source.infolist():
            to.writestr(entry.filename, source.read(entry))
    with pytest.raises(ZooError, match="packed archive"):
        weights.read(packed)
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as script:
        for name in ("data.pkl", "code/__torch__.py"):
            script.writestr(f"net/{name}", "...")
    with pytest.raises(ZooError, match="TorchScript program"):
        weights.read(packed)
    assert weights.read(plain)[0].keys() == {"k"}


def test_damaged_checkpoints_are_called_so(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save({"weight": torch.zeros(1000)}, path)
    whole = path.read_bytes()
    torch.save({"weight": torch.zeros(1000)}, path, _use_new_zipfile_serialization=False)
    old = path.read_bytes()
    for content in (whole, old):
        for damaged in (content[: len(content) // 2], content[:100], content[:-1]):
            path.write_bytes(damaged)
            with pytest.raises(
                ZooError, match=r"net\.pth is damaged or cut short\. Fetch it again"
            ):
                load(str(path))


def test_a_file_is_known_by_how_it_begins(tmp_path: Path) -> None:
    pickled, tensors = tmp_path / "pickled.pth", tmp_path / "tensors.safetensors"
    torch.save({"weight": torch.zeros(10)}, pickled)
    save_file({"weight": torch.zeros(10)}, tensors)
    old = io.BytesIO()
    torch.save({"weight": torch.zeros(10)}, old, _use_new_zipfile_serialization=False)
    document = io.BytesIO()
    with zipfile.ZipFile(document, "w") as archive:
        archive.writestr("word/document.xml", "<xml/>")
    for name, content, complaint in (
        ("a.pth", tensors.read_bytes(), r"is a safetensors file. Name it so \(.safetensors\)"),
        ("a.safetensors", pickled.read_bytes(), r"as torch saves them.* Name it so \(.pth\)"),
        ("a.safetensors", old.getvalue(), r"as torch saves them.* Name it so \(.pth\)"),
        ("a.pth", b"<!DOCTYPE html>", "no checkpoint that torch has saved. Fetch the weights file"),
        ("a.pth", b"\xb8\x19" * 50, "no checkpoint that torch has saved"),
        ("a.pth", document.getvalue(), "no checkpoint that torch has saved"),
        ("a.pth", b"", "is empty. Fetch it again"),
        ("a.safetensors", b"", "is empty. Fetch it again"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ZooError, match=complaint):
            load(str(path))


def test_a_header_as_long_as_a_pickle_begins_is_of_a_safetensors_file(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    for length in (0x0280, 0x0480):
        text = json.dumps({"a": tensor([2], 0, 8)}).encode().ljust(length)
        assert safetensors_file(path, text, bytes(8)).read_bytes()[0] == 0x80
        assert weights.read(path)[0].keys() == {"a"}


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
def test_a_folder_is_called_so(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(ZooError, match="is a folder"):
        load(str(tmp_path / name))


def test_a_mapping_that_holds_itself_is_no_state_dict(tmp_path: Path) -> None:
    path, endless = tmp_path / "net.pth", {}  # type: ignore[var-annotated]
    endless["params"] = endless
    torch.save(endless, path)
    with pytest.raises(ZooError, match="holds no state dict"):
        load(str(path))


def test_a_list_of_tensors_is_no_state_dict(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save([torch.zeros(3)], path)
    with pytest.raises(ZooError, match="holds no state dict"):
        load(str(path))


def test_an_archive_without_its_directory_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save({"weight": torch.zeros(1000)}, path)
    data = bytearray(path.read_bytes())
    first = data.index(b"PK\x01\x02")
    data[first : first + 4] = bytes(4)
    path.write_bytes(bytes(data))
    with pytest.raises(ZooError, match="damaged or cut short"):
        load(str(path))


@pytest.mark.parametrize(
    "odd",
    [
        torch.ones(8).to_sparse(),
        torch.ones(8, dtype=torch.complex64),
        torch.ones(8, device="meta"),
        torch.ones(1).expand(8),
        torch.ones(1).expand(10**9, 10**9),
    ],
    ids=["sparse", "complex", "meta", "one for all", "one for more than there are"],
)
def test_tensors_that_are_no_plain_numbers_are_refused(tmp_path: Path, odd: torch.Tensor) -> None:
    path = tmp_path / "net.pth"
    state = registry.family("EDSR").build(scale=2, features=8, blocks=1).state_dict()
    torch.save(state | {"head.bias": odd}, path)
    with pytest.raises(ZooError, match=r"head\.bias in a form that is not read"):
        load(str(path))


@pytest.mark.parametrize("shape", [(), (8,), (8, 3), (0, 3, 3, 3), (1, 1, 1, 1, 1)])
@pytest.mark.parametrize("family", registry.FAMILIES, ids=lambda one: one.name)
def test_tensors_of_odd_shapes_are_no_networks_of_ours(
    tmp_path: Path, family: Family, shape: tuple[int, ...]
) -> None:
    path = tmp_path / "net.safetensors"
    save_file({key: torch.zeros(shape) for key in family.needed}, path)
    with pytest.raises(ZooError, match=r"not of a network|does not fit|that cannot be"):
        load(str(path))


def safetensors_file(path: Path, header: Any, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", length or len(text)) + text + data)
    return path


def tensor(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("header", "data", "length"),
    [
        ({"a": tensor([2], 0, 8), "b": tensor([2], 4, 12)}, 12, None),
        ({"a": tensor([2], 4, 12)}, 12, None),
        ({"a": tensor([2_500_000_000], 0, 10_000_000_000)}, 12, None),
        ({"a": tensor([2**62, 4], 0, 0)}, 0, None),
        ({"a": tensor([-2], 0, 8)}, 8, None),
        ({"a": tensor([3], 0, 8)}, 8, None),
        ({"a": tensor([2], 0, 8, "F16")}, 8, None),
        ({"a": tensor([2], 0, 8)}, 80, None),
        (b"{}", 0, 10**10),
        (b"hello!", 0, None),
        (b'{"\xff":1}', 0, None),
    ],
    ids=[
        *("overlapping", "gap", "ten-gigabytes", "overflow", "negative", "shape", "dtype"),
        *("trailing", "header-of-ten-gigabytes", "no-json", "no-utf8"),
    ],
)
def test_a_safetensors_file_that_lies_is_refused(
    tmp_path: Path, header: Any, data: int, length: int | None
) -> None:
    path = safetensors_file(tmp_path / "net.safetensors", header, bytes(data), length)
    with pytest.raises(ZooError, match=r"not a whole safetensors file|is no safetensors file"):
        load(str(path))


def test_a_file_of_ten_gigabytes_is_not_even_opened(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    with path.open("wb") as file:
        file.truncate(10**10)  # sparse: it takes no room
    with pytest.raises(ZooError, match="larger than any weights file"):
        load(str(path))


@pytest.mark.parametrize(
    ("network", "options", "complaint"),
    [
        ("DAN", {}, "says that it holds DAN, but its weights are of EDSR"),
        ("EDSR", {"features": 16}, "does not fit EDSR: .* is of shape"),
        ("EDSR", {"features": 10**9}, "options make no sense"),
        ("EDSR", {"features": [1]}, "that cannot be"),
        ("EDSR", {"features": [10**9]}, "options make no sense"),
        ("EDSR", {"features": {"a": 1}}, "options make no sense"),
        ("EDSR", {"features": [[1]]}, "options make no sense"),
        ("EDSR", {"scale": 0}, "options make no sense"),
        ("EDSR", {"colour": 3}, "option 'colour' of EDSR"),
        ("EDSR", {"style": "none", "blocks": 0.5}, "that cannot be"),
    ],
)
def test_a_header_that_contradicts_the_weights_is_refused(
    tmp_path: Path, network: str, options: dict[str, Any], complaint: str
) -> None:
    right = {"scale": 2, "features": 8, "blocks": 1}
    state = registry.family("EDSR").build(**right).state_dict()
    path = tmp_path / "net.safetensors"
    weights.write(path, state, network, right | options)
    with pytest.raises(ZooError, match=complaint):
        load(str(path))


@pytest.mark.parametrize("options", ["{", "[]", "3"])
def test_a_header_whose_options_are_no_table_is_refused(tmp_path: Path, options: str) -> None:
    state = registry.family("EDSR").build(scale=2, features=8, blocks=1).state_dict()
    path = tmp_path / "net.safetensors"
    weights.write_with(path, state, {"network": "EDSR", "options": options})
    with pytest.raises(ZooError, match="options make no sense"):
        load(str(path))


@pytest.mark.parametrize("channels", [1, 4])
def test_networks_for_pictures_of_other_channels_are_called_so(
    tmp_path: Path, channels: int
) -> None:
    right = {"scale": 2, "features": 8, "blocks": 1}
    state = registry.family("EDSR").build(**right).state_dict()
    state["head.weight"] = torch.zeros(8, channels, 3, 3)
    path = tmp_path / "net.safetensors"
    weights.write(path, state, "EDSR", right)
    with pytest.raises(ZooError, match=f"weights of EDSR for pictures of {channels} channels"):
        load(str(path))
