"""Pillow without its warnings and with our limit of size."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

_one_at_a_time = threading.Lock()


@contextmanager
def quiet(max_pixels: int | None = None) -> Iterator[None]:
    """Keeps Pillow's warnings from the terminal and sets its limit of size for a while.

    One thread at a time, since warning filters and Pillow's limit belong to the whole process, and
    two that overlap would leave them changed. Both are as they were afterwards.

    Args:
        max_pixels: Limit on pixels; None for Pillow's own. Decoders that ask for themselves refuse
            twice as many, and all are asked before they decode.
    """
    with _one_at_a_time, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = Image.MAX_IMAGE_PIXELS
        try:
            if max_pixels is not None:
                Image.MAX_IMAGE_PIXELS = max_pixels
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before
