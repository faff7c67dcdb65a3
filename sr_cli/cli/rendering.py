"""An estimated degradation as a table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.table import Table

from sr_cli.degradation.explain import NOT_KNOWN, Step


def degradation_table(title: str, steps: Sequence[Step]) -> Table:
    """One row a step of what had happened to the picture, or a stage of which nothing is known."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("Stage", style="dim")
    table.add_column("Step")
    table.add_column("What the Estimator found")
    for title, group in groupby(steps, key=lambda step: step.title):
        rows = list(group)
        if all(row.text == NOT_KNOWN for row in rows):
            table.add_row(title, "all", NOT_KNOWN)
            continue
        for number, row in enumerate(rows):
            table.add_row("" if number else title, row.name, row.text)
    return table
