"""What a killed run leaves is removed by the next one; what a living one writes is not."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sr_cli.images import Picture, PictureError, is_whole, write
from sr_cli.temporary import AppearedError, replacing, sweep

PICTURE = Picture(np.linspace(0, 1, 24 * 32 * 3, dtype=np.float32).reshape(24, 32, 3))
DIE = """
import os, signal, sys
from pathlib import Path
from sr_cli.temporary import replacing
with replacing(Path(sys.argv[1])) as stream:
    stream.write(b"half")
    stream.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_what_a_killed_process_leaves_is_swept_away(tmp_path):
    path = tmp_path / "a.png"
    write(PICTURE, path)
    subprocess.run([sys.executable, "-c", DIE, str(path)], check=False)
    assert len(list(tmp_path.iterdir())) == 2
    sweep(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["a.png"]
    assert is_whole(path)


def test_what_is_being_written_is_left_alone(tmp_path):
    with replacing(tmp_path / "a.png") as stream:
        stream.write(b"first half, ")
        sweep(tmp_path)
        stream.write(b"second half")
    assert (tmp_path / "a.png").read_bytes() == b"first half, second half"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
@pytest.mark.parametrize("keep", [True, False])
def test_what_is_being_named_is_left_alone_too(tmp_path, monkeypatch, keep):
    whose = (os, "link") if keep else (type(tmp_path), "replace")
    right = getattr(*whose)

    def swept_meanwhile(*names):
        sweep(tmp_path)
        # Whoever opens it from now on finds all of it.
        assert Path(names[0]).read_bytes() == b"whole"
        return right(*names)

    monkeypatch.setattr(*whose, swept_meanwhile)
    with replacing(tmp_path / "a.png", keep=keep) as stream:
        stream.write(b"whole")
    assert (tmp_path / "a.png").read_bytes() == b"whole"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("keep", [True, False])
def test_a_disk_that_runs_full_is_told_with_the_name_of_the_file(tmp_path, monkeypatch, keep):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    path = tmp_path / "a.png"
    path.write_bytes(b"before")
    with pytest.raises(OSError) as raised, replacing(path, keep=keep) as stream:
        stream.write(b"after")
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(path))
    assert path.read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("keep", [True, False])
def test_a_folder_is_refused_before_anything_is_made(tmp_path, keep):
    begun = False
    with pytest.raises(IsADirectoryError), replacing(tmp_path, keep=keep):
        begun = True
    assert not begun


def test_only_our_own_files_are_swept_away(tmp_path):
    names = {"a.partial", ".hidden.partial", ".sr-cli-notes", "sr-cli-0.partial"}
    for name in names:
        (tmp_path / name).touch()
    sweep(tmp_path)
    sweep(tmp_path / "none")
    assert {each.name for each in tmp_path.iterdir()} == names


def test_files_that_are_whole_and_not(tmp_path):
    path = tmp_path / "a.png"
    write(PICTURE, path)
    assert is_whole(path)
    path.write_bytes(path.read_bytes()[:-40])
    assert not is_whole(path)
    path.write_bytes(b"")
    assert not is_whole(path) and not is_whole(tmp_path) and not is_whole(tmp_path / "none")


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_meanwhile_is_kept_if_so_wished(tmp_path, monkeypatch, links):
    if not links:  # as on some file systems
        monkeypatch.setattr(os, "link", _refuse)
    path = tmp_path / "a.png"
    with pytest.raises(AppearedError), replacing(path, keep=True) as stream:
        stream.write(b"ours")
        path.write_bytes(b"theirs")
    assert path.read_bytes() == b"theirs"
    with replacing(path) as stream:
        stream.write(b"ours")
    assert path.read_bytes() == b"ours"
    path.unlink()
    with replacing(path, keep=True) as stream:
        stream.write(b"alone")
    assert path.read_bytes() == b"alone"
    assert [each.name for each in tmp_path.iterdir()] == ["a.png"]


def _refuse(*_):
    raise OSError(1, "no links here")


def test_a_picture_that_may_not_replace_says_so(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"theirs")
    with pytest.raises(PictureError, match="appeared meanwhile and was kept"):
        write(PICTURE, path, keep=True)
    assert path.read_bytes() == b"theirs"
    assert len(list(tmp_path.iterdir())) == 1
