"""ONNX Runtime, asked to keep what it sees to itself.  Needs no torch.

From 1.29 on its packages write an identifier of the machine and a queue of events for its makers
below the user's home folder, unless the environment says otherwise before it is imported.  So it is
imported here first, wherever this program needs it.  Who has set the variables is not overruled.
"""

from __future__ import annotations

import os

for _name in ("ORT_DISABLE_TELEMETRY", "ORT_TELEMETRY_DISABLED"):
    os.environ.setdefault(_name, "1")

import onnxruntime as ort  # noqa: E402

if os.environ["ORT_DISABLE_TELEMETRY"] == "1":
    ort.disable_telemetry_events()  # which is what Windows goes by

__all__ = ["ort"]
