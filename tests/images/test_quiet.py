"""What is switched off while a picture is decoded belongs to the whole process, and comes back."""

from __future__ import annotations

import os
import threading
import time

import pytest
from PIL import Image

from sr_cli.images.quiet import quiet


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_fork_while_another_thread_decodes_leaves_the_child_able_to() -> None:
    inside, limit = threading.Event(), Image.MAX_IMAGE_PIXELS

    def decode() -> None:
        with quiet(7):
            inside.set()
            time.sleep(0.3)

    thread = threading.Thread(target=decode)
    thread.start()
    inside.wait()
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        fine = limit == Image.MAX_IMAGE_PIXELS
        with quiet(5):
            fine = fine and Image.MAX_IMAGE_PIXELS == 5
        os._exit(0 if fine else 3)
    thread.join()
    deadline = time.monotonic() + 20
    done, status = 0, 0
    while not done and time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.02)
    if not done:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert done == child and os.waitstatus_to_exitcode(status) == 0
    assert limit == Image.MAX_IMAGE_PIXELS


def test_a_fork_within_does_not_wait_for_itself() -> None:
    with quiet(7), quiet():
        child = os.fork() if hasattr(os, "fork") else None
        if child == 0:  # pragma: no cover - another process
            os._exit(0)
    assert child is None or os.waitpid(child, 0)[1] == 0
