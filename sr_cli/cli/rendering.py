"""An estimated degradation as a table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from sr_cli.degradation.explain import Step


def degradation_table(title: str, steps: Sequence[Step]) -> Table:
    """One row a step of what had happened to the picture."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("Stage", style="dim")
    table.add_column("Step")
    table.add_column("What the Estimator found")
    shown = ""
    for step in steps:
        table.add_row("" if step.title == shown else step.title, step.name, step.text)
        shown = step.title
    return table
