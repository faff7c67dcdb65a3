"""The Hub, with its real client against a server on loopback.

Every run is a process of its own, as the client reads its environment when it is imported; none of
them needs torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from huggingface_hub.constants import DOWNLOAD_CHUNK_SIZE

from tests.conftest import all_shown
from tests.zoo.hub_server import COMMIT, TOKEN, Hub, serving

REFERENCE = "hf:some/repo/model.safetensors"
PINNED = f"{REFERENCE}@{COMMIT}"
CONTENT = bytes(range(256)) * 4096

WITH_MANIFEST = """
import sys
from sr_cli.zoo import manifest
text = open(sys.argv.pop(1)).read()
manifest._text = lambda: text
from sr_cli.cli.main import run
run()
"""
"""The program with a manifest of the test's own."""


@dataclass(frozen=True)
class Client:
    """Runs `sr-cli` with a cache of its own against one Hub."""

    hub: Hub
    home: Path

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self._finish(self.start("-m", "sr_cli", *arguments, **environment))

    def run_with(self, manifest: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._finish(self.start("-c", WITH_MANIFEST, str(manifest), *arguments))

    def start(
        self, *arguments: str, stderr: int = subprocess.PIPE, **environment: str
    ) -> subprocess.Popen[str]:
        kept = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith(("HF_", "HUGGING")) and "PROXY" not in k.upper()
        }
        return subprocess.Popen(
            [sys.executable, *arguments],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=kept
            | {
                "HF_ENDPOINT": self.hub.address,
                "HF_HOME": str(self.home),
                "HF_HUB_DISABLE_XET": "1",
            }
            | environment,
        )

    @staticmethod
    def _finish(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with serving() as hub:
        hub.files["some/repo/model.safetensors"] = CONTENT
        yield Client(hub, tmp_path / "home")


def pulled(done: subprocess.CompletedProcess[str]) -> bytes:
    """The content of the file that `models pull` named."""
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return Path(done.stdout.split(maxsplit=1)[1].strip()).read_bytes()


def one_sentence(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """The run failed with one line that has these words."""
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("sr-cli: "), done.stderr
    for word in words:
        assert word in done.stderr


def manifest_with(folder: Path, sha256: str) -> Path:
    """A manifest whose one model is the file on the Hub."""
    model = {
        **{"name": "toy-x4", "aliases": [], "purpose": "To test", "network": "DAN", "options": {}},
        **{"scale": 4, "tiling": "exact", "degradation": None, "preset": "learned", "ranges": {}},
        **{"licence": "Apache-2.0", "authors": "us", "recipe": "toy-x4", "training": {}},
        **{"figures": [], "estimate": {}},
        "paper": {"title": "Toy", "authors": "Us", "year": 2026, "url": None, "figures": []},
        "weights": {
            "bundled": None,
            "hub": {"repo": "some/repo", "file": "model.safetensors", "revision": COMMIT},
            "sha256": sha256,
            "bytes": len(CONTENT),
            "numbers_sha256": sha256,
        },
    }
    path = folder / "manifest.json"
    path.write_text(json.dumps({"version": 2, "models": [model]}))
    return path


def test_a_cold_cache_is_filled_and_a_warm_one_asks_nobody(client: Client) -> None:
    assert pulled(client.run("models", "pull", PINNED)) == CONTENT
    assert client.hub.downloads() == [None]
    client.hub.requests.clear()
    assert pulled(client.run("models", "pull", PINNED)) == CONTENT
    assert client.hub.requests == []


def test_a_branch_is_looked_up_and_not_downloaded_again(client: Client) -> None:
    assert pulled(client.run("models", "pull", REFERENCE)) == CONTENT
    client.hub.requests.clear()
    assert pulled(client.run("models", "pull", REFERENCE)) == CONTENT
    assert client.hub.requests and client.hub.downloads() == []


def test_offline_the_cache_serves_and_what_it_lacks_is_said(client: Client) -> None:
    one_sentence(client.run("models", "pull", REFERENCE, HF_HUB_OFFLINE="1"), "HF_HUB_OFFLINE")
    pulled(client.run("models", "pull", REFERENCE))
    client.hub.requests.clear()
    assert pulled(client.run("models", "pull", REFERENCE, HF_HUB_OFFLINE="1")) == CONTENT
    assert client.hub.requests == []


def test_no_server_no_file(client: Client) -> None:
    # Port 9 discards; nothing listens there.
    done = client.run("models", "pull", REFERENCE, HF_ENDPOINT="http://127.0.0.1:9")
    one_sentence(done, "http://127.0.0.1:9", "cannot be reached")
    command = ("models", "publish", "dan-real-x4", "--repo", "me/dan")
    for more in ({"HF_ENDPOINT": "http://127.0.0.1:9"}, {"HF_HUB_OFFLINE": "1"}):
        one_sentence(client.run(*command, HF_TOKEN=TOKEN, **more), "cannot be reached", "--dry-run")


def test_what_the_hub_does_not_have_is_named(client: Client) -> None:
    one_sentence(client.run("models", "pull", "hf:some/repo/other.pth"), "has no file other.pth")
    one_sentence(client.run("models", "pull", "hf:no/body/model.pth"), "no repository no/body")
    one_sentence(client.run("models", "pull", f"{REFERENCE}@v9"), "no revision v9")


def test_gated_files_need_a_token(client: Client) -> None:
    client.hub.gated = True
    one_sentence(client.run("models", "pull", REFERENCE), "gated", "HF_TOKEN")
    assert pulled(client.run("models", "pull", REFERENCE, HF_TOKEN=TOKEN)) == CONTENT


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, ["does not accept your token for some/repo"]),
        (503, ["Cannot fetch model.safetensors of some/repo: ", "503"]),
    ],
)
def test_a_hub_that_refuses_is_asked_once_and_told_of(
    client: Client, status: int, words: list[str]
) -> None:
    client.hub.status = status
    one_sentence(client.run("models", "pull", REFERENCE, HF_TOKEN=TOKEN), *words)
    assert len(client.hub.requests) == 1


def test_a_cut_connection_is_resumed_where_it_broke(client: Client) -> None:
    # The client keeps what came in whole chunks.
    content = CONTENT * (DOWNLOAD_CHUNK_SIZE // len(CONTENT) + 2)
    client.hub.files["some/repo/model.safetensors"] = content
    client.hub.cut_after = DOWNLOAD_CHUNK_SIZE + 1000
    assert pulled(client.run("models", "pull", PINNED)) == content
    first, second = client.hub.downloads()
    assert first is None and second is not None
    assert int(second.removeprefix("bytes=").removesuffix("-")) >= DOWNLOAD_CHUNK_SIZE


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_progress_goes_to_a_terminal(client: Client) -> None:
    import termios

    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    process = client.start("-m", "sr_cli", "models", "pull", PINNED, stderr=theirs)
    out, _ = process.communicate(timeout=60)
    os.close(theirs)
    shown = all_shown(ours)
    assert process.returncode == 0 and Path(out.split()[1]).read_bytes() == CONTENT
    assert b"model.safetensors" in shown and b"100%" in shown


def test_redirects_are_followed(client: Client) -> None:
    client.hub.redirect = True
    assert pulled(client.run("models", "pull", PINNED)) == CONTENT
    assert any(path.startswith("/cdn/") for _, path, _ in client.hub.requests)


def test_a_file_with_the_wrong_hash_is_deleted(client: Client, tmp_path: Path) -> None:
    right = manifest_with(tmp_path, hashlib.sha256(CONTENT).hexdigest())
    client.hub.files["some/repo/model.safetensors"] = CONTENT[::-1]
    one_sentence(client.run_with(right, "models", "pull", "toy-x4"), "sha256", "deleted")
    blobs = [path for path in client.home.rglob("blobs/*") if path.is_file()]
    assert blobs == []
    client.hub.files["some/repo/model.safetensors"] = CONTENT
    assert pulled(client.run_with(right, "models", "pull", "toy-x4")) == CONTENT


def test_verify_and_path_know_what_is_here(client: Client, tmp_path: Path) -> None:
    right = manifest_with(tmp_path, hashlib.sha256(CONTENT).hexdigest())
    one_sentence(client.run_with(right, "models", "path", "toy-x4"), "models pull toy-x4")
    assert "not here" in client.run_with(right, "models", "verify", "toy-x4").stdout
    file = Path(client.run_with(right, "models", "pull", "toy*").stdout.split()[1])
    assert client.run_with(right, "models", "path", "toy-x4").stdout.strip() == str(file)
    assert "toy-x4  ok" in client.run_with(right, "models", "verify").stdout
    file.resolve().write_bytes(b"damaged")
    done = client.run_with(right, "models", "verify", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["state"] == "wrong"


def test_two_first_runs_at_once_end_with_one_whole_file(client: Client) -> None:
    command = ("-m", "sr_cli", "models", "pull", PINNED)
    both = [client.start(*command) for _ in range(2)]
    assert [pulled(client._finish(one)) for one in both] == [CONTENT, CONTENT]
    assert len([path for path in client.home.rglob("blobs/*") if path.is_file()]) == 1


def test_publishing_uploads_card_configuration_and_weights(client: Client) -> None:
    command = ("models", "publish", "dan-real-x4", "--repo", "me/dan")
    refused = client.run(*command)
    one_sentence(refused, "me/dan", "hf auth login")
    done = client.run(*command, "--private", HF_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(f"/me/dan/commit/{COMMIT}")
    assert client.hub.hidden == {"me/dan": True}
    assert set(client.hub.uploads) == {"README.md", "config.json", "model.safetensors"}
    assert not Path("dan").exists()  # what was uploaded is not left here
    path = client.run("models", "path", "dan-real-x4").stdout.strip()
    assert client.hub.uploads["model.safetensors"] == Path(path).read_bytes()


def test_publishing_goes_into_a_repository_that_is_there_and_tells_what_the_hub_refuses(
    client: Client,
) -> None:
    command = ("models", "publish", "dan-real-x4", "--repo", "me/dan")
    client.hub.hidden["me/dan"] = False
    assert client.run(*command, HF_TOKEN=TOKEN).returncode == 0
    for status, words in ((403, "does not let you write to me/dan"), (500, "Cannot publish to")):
        client.hub.status = status
        one_sentence(client.run(*command, HF_TOKEN=TOKEN), words)
