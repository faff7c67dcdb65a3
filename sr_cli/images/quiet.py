"""Pillow without warnings, its own and its libraries', and with our limit of size."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from PIL import Image

_one_at_a_time = threading.RLock()
if hasattr(os, "register_at_fork"):
    # A process that is forked while another thread decodes would wait for that thread for ever,
    # with its limit and its standard error: so a fork waits for the decoder.
    os.register_at_fork(
        before=_one_at_a_time.acquire,
        after_in_parent=_one_at_a_time.release,
        after_in_child=_one_at_a_time.release,
    )


@contextmanager
def quiet(max_pixels: int | None = None, *, muted: bool = True) -> Iterator[None]:
    """Keeps warnings from the terminal and sets Pillow's limit of size for a while.

    One thread at a time, since warning filters, the limit and standard error belong to the whole
    process, and two that overlap would leave them changed. All are as they were afterwards.

    Args:
        max_pixels: Limit on pixels; None for Pillow's own. Decoders that ask for themselves refuse
            twice as many, and all are asked before they decode.
        muted: Whether what is written to standard error meanwhile goes nowhere, whoever writes it.
    """
    silence = _muted() if muted else nullcontext()
    with _one_at_a_time, warnings.catch_warnings(), silence:
        warnings.simplefilter("ignore")
        before = Image.MAX_IMAGE_PIXELS
        try:
            if max_pixels is not None:
                Image.MAX_IMAGE_PIXELS = max_pixels
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


@contextmanager
def _muted() -> Iterator[None]:
    """Standard error to nowhere, since libtiff writes there past Python."""
    try:
        kept = os.dup(2)
    except OSError:  # there is none
        yield
        return
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
