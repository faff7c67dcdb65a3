"""One at a time.  Needs no torch."""

from __future__ import annotations

import threading

ALONE = threading.RLock()
"""To be held while what the whole process shares is other than usual.

torch's exporter changes torch itself for as long as it works, and what keeps notes off the standard
streams and the root logger keeps them off those of the whole process: a second thread that does the
like at the same time would fail, and leave the process without streams for good.
"""
