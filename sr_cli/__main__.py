"""Where the program is entered, as ``sr-cli`` or ``python -m sr_cli``."""

from __future__ import annotations

import signal
from types import FrameType


def _leave(number: int, frame: FrameType | None) -> None:
    # SystemExit passes every handler, and its way out removes half-written files: once begun, let
    # nothing cut it short.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise SystemExit(128 + number)


def main() -> None:
    """Run the program and leave with its exit status: 0, 1, 2, or 129, 130, 143 if interrupted."""
    # Before the commands are imported: in that moment, too, somebody may change their mind.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        # What whoever started the program has it ignore stays so: nohup, a shell's background.
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)
    from sr_cli.cli.main import run

    run()


if __name__ == "__main__":
    main()
