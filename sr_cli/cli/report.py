"""A page that shows a batch: every picture before and after, and what was wrong with it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from string import Template

from sr_cli import __version__
from sr_cli.cli import side_outputs
from sr_cli.cli.rendering import HEADS, degradation_rows, in_short
from sr_cli.degradation.explain import Step

PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>$title</title>
<style>
body { font: 16px/1.45 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #222; background: #fff; }
h2 { margin: 2.5rem 0 .3rem; font-size: 1.15rem; overflow-wrap: anywhere; }
p { margin: .3rem 0; }
.facts, .note { color: #666; }
.pair { position: relative; margin: .7rem 0; max-width: 100%; line-height: 0; }
.pair img { max-width: 100%; }
.pair .after { position: absolute; inset: 0; clip-path: inset(0 0 0 var(--at, 50%)); }
.pair input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0;
  cursor: ew-resize; }
.pair::after { content: ""; position: absolute; top: 0; bottom: 0; left: var(--at, 50%);
  width: 2px; background: #fff; box-shadow: 0 0 3px #000; }
.pair input:focus-visible { opacity: .35; }
table { border-collapse: collapse; margin: .6rem 0; }
td, th { text-align: left; padding: .15rem 1rem .15rem 0; vertical-align: top;
  font-weight: normal; }
th { color: #666; }
.failed { color: #a00; }
</style>
</head>
<body>
<h1>$title</h1>
<p class="facts">$facts</p>
$parts
<script>
for (const input of document.querySelectorAll(".pair input")) {
  input.addEventListener("input", () =>
    input.parentElement.style.setProperty("--at", input.value + "%"));
}
</script>
</body>
</html>
""")


@dataclass(frozen=True)
class Shown:
    """One picture on the page."""

    name: str
    output: str
    facts: str
    steps: Sequence[Step]
    notes: Sequence[str]
    before: bytes | None
    """JPEG of a detail, enlarged by interpolation; None if there is nothing to show."""
    after: bytes | None
    """JPEG of the same detail of the result."""


@dataclass
class Report:
    """The page as it grows."""

    model: str
    shown: list[Shown] = field(default_factory=list)

    def html(self, counts: str, failures: Sequence[tuple[str, str]]) -> str:
        """The whole page.

        Args:
            counts: How many pictures were done, skipped and so on.
            failures: Names of pictures that could not be done, and why.
        """
        parts = [_picture(one) for one in self.shown]
        if failures:
            rows = "".join(f"<tr><td>{_e(n)}</td><td>{_e(why)}</td></tr>" for n, why in failures)
            parts.append(f'<h2 class="failed">Failed</h2><table>{rows}</table>')
        return PAGE.substitute(
            title="Enlarged pictures",
            facts=_e(f"{counts}, by {self.model} of sr-cli {__version__}"),
            parts="\n".join(parts),
        )

    def write(
        self,
        path: Path,
        counts: str,
        failures: Sequence[tuple[str, str]],
        *,
        overwrite: bool,
    ) -> None:
        """Write the page.

        Args:
            path: The file.
            counts: As for `html`; the failures too.
            failures: Names and reasons.
            overwrite: Whether a file that is there by then is replaced.

        Raises:
            OSError: It cannot be written.
        """
        page = self.html(counts, failures).encode("utf-8", "backslashreplace")
        side_outputs.write(path, page, overwrite=overwrite)


def _picture(one: Shown) -> str:
    parts = [f"<h2>{_e(one.name)}</h2>", f'<p class="facts">{_e(one.output)}: {_e(one.facts)}</p>']
    if one.before and one.after:
        parts.append(
            '<div class="pair" style="width: max-content">'
            f'<img alt="interpolated" src="{_uri(one.before)}">'
            f'<img class="after" alt="enlarged" src="{_uri(one.after)}">'
            '<input type="range" min="0" max="100" value="50" '
            'aria-label="Left: interpolated, right: enlarged"></div>'
            '<p class="note">A detail at full size. Left: bicubic interpolation; right: the '
            "result. Move the line.</p>"
        )
    if line := in_short(one.steps):
        parts.append(f"<p>{_e(line)}</p>")
    if one.steps:
        parts.append(_table(one.steps))
    parts += [f'<p class="note">{_e(note)}</p>' for note in one.notes]
    return "\n".join(parts)


def _table(steps: Sequence[Step]) -> str:
    rows = ["<tr>" + "".join(f"<th>{_e(head)}</th>" for head in HEADS) + "</tr>"]
    for row in degradation_rows(steps):
        rows.append("<tr>" + "".join(f"<td>{_e(cell)}</td>" for cell in row) + "</tr>")
    return f"<table>{''.join(rows)}</table>"


def _uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def _e(text: str) -> str:
    return escape(text)
