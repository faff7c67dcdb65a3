"""ONNX Runtime, asked to keep what it sees to itself.  Needs no torch.

From 1.29 on its packages write an identifier of the machine and a queue of events for its makers
below the user's home folder, unless the environment says otherwise before it is imported.  So it is
imported here first, wherever this program needs it.  Who has set the variable is not overruled.
"""

from __future__ import annotations

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

if os.environ["ORT_DISABLE_TELEMETRY"].lower() not in ("0", "false", "no", ""):
    ort.disable_telemetry_events()  # which is all that Windows goes by

__all__ = ["ort"]
