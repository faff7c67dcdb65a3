"""Thousands of broken files: each ends as a picture or as a sentence, soon and in little memory."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.batches.conftest import draw, names
from tests.batches.corpus import corpus

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is measured as on Linux")

FLIPS = 120 if os.environ.get("SR_CLI_FULL_TESTS") else 30
"""Files with flipped bits, of every sound file; the other kinds are always all there."""
GIGABYTE = 2**20  # in the kilobytes of /proc
CEILING = 12 * 2**30  # bytes of address space, lest a mistake here takes the whole machine down

PEAK = """
def peak():
    # Not `ru_maxrss`, which a process inherits from the one that has started it.
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
"""
READ_ALL = (
    PEAK
    + """
import json, resource, sys, time
from pathlib import Path
from sr_cli.images import PictureError, is_whole, read, result_format

resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]),) * 2)
for path in sorted(Path(sys.argv[1]).iterdir()):
    began, reason = time.process_time(), None
    try:
        read(path)
    except PictureError as error:
        reason = str(error)
    result_format(path, 4), is_whole(path)
    print(json.dumps([path.name, reason, time.process_time() - began]))
print(peak())
"""
)
UPSCALE = (
    PEAK
    + """
import atexit, sys
from pathlib import Path
from sr_cli.__main__ import main

told = Path(sys.argv.pop(1))
atexit.register(lambda: told.write_text(str(peak())))
main()
"""
)


@dataclass(frozen=True)
class Measured:
    """What became of the corpus when it was read."""

    folder: Path
    reasons: dict[str, str | None]
    """File to the reason why it is no picture, None if it is one."""
    seconds: dict[str, float]
    kilobytes: int


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    folder = tmp_path_factory.mktemp("broken")
    for name, data in corpus(FLIPS).items():
        (folder / name).write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL, str(folder), str(CEILING)],
        capture_output=True,
        text=True,
        check=True,
        timeout=1800,
    )
    *rows, peak = (json.loads(line) for line in done.stdout.splitlines())
    assert not done.stderr
    return Measured(folder, {r[0]: r[1] for r in rows}, {r[0]: r[2] for r in rows}, peak)


def test_every_file_ends_as_a_picture_or_as_one_sentence(measured: Measured) -> None:
    reasons = [reason for reason in measured.reasons.values() if reason is not None]
    assert len(reasons) >= 2000
    assert len(measured.reasons) > len(reasons)  # some damage leaves a picture
    for reason in reasons:
        assert reason and "\n" not in reason and not reason.endswith(".") and "Error" not in reason
    assert max(measured.seconds.values()) < 10
    assert measured.kilobytes < GIGABYTE
    print(f"{len(reasons)} of {len(measured.reasons)} refused, {max(measured.seconds.values()):.2f}"
          f" s at most, {measured.kilobytes / 1024:.0f} MB")  # fmt: skip


def test_five_good_files_among_thousands_of_bad_ones(
    measured: Measured, tmp_path: Path, tiny_weights: Path
) -> None:
    night = tmp_path / "night"
    night.mkdir()
    bad = [name for name, reason in measured.reasons.items() if reason is not None]
    for name in bad:
        os.link(measured.folder / name, night / name)
    good = [f"{letter}ood {seed}.png" for seed, letter in enumerate("gnstz")]
    for seed, name in enumerate(good):
        draw(night / name, seed=seed)
    command = [sys.executable, "-c", UPSCALE, str(tmp_path / "peak"), "upscale", str(night), "-o"]
    command += [str(tmp_path / "out"), "--model", str(tiny_weights), "--json"]
    with (tmp_path / "told").open("w") as told, (tmp_path / "errors").open("w") as errors:
        process = subprocess.Popen(command, stdout=told, stderr=errors)
        resource.prlimit(process.pid, resource.RLIMIT_AS, (CEILING, CEILING))
        process.wait()
    assert process.returncode == 1
    assert names(tmp_path / "out") == sorted(f"{Path(name).stem}_x4.png" for name in good)
    lines = [json.loads(line) for line in (tmp_path / "told").read_text().splitlines()]
    failed = {Path(line["input"]).name for line in lines if "error" in line}
    assert failed == set(bad) and len(bad) >= 2000 and len(lines) == len(bad) + 5
    said = (tmp_path / "errors").read_text()
    assert "Traceback" not in said and "internal error" not in said
    assert f"5 done, 0 skipped, {len(bad)} failed" in said
    kilobytes = int((tmp_path / "peak").read_text())
    assert kilobytes < GIGABYTE
    print(f"{len(bad)} bad files and 5 good ones: {kilobytes / 1024:.0f} MB")
