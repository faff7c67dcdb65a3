"""docs/commands.md: every command with every option, told from the program itself.

With SR_CLI_WRITE_DOCS set the page is written; else the one that is there must be the same.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args, get_type_hints

import typer
from typer.models import ArgumentInfo, OptionInfo

from sr_cli.cli.main import app

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"

HEAD = """# Commands

What `--help` says of every command, made by
`SR_CLI_WRITE_DOCS=1 pytest tests/cli/test_commands_page.py`; the tests fail if this page is not
what the program says. Exit status: 0 all done, 1 something failed, 2 misused command line, 130
interrupted, 143 terminated, 129 its terminal closed; but `train` saves and leaves with 0. Messages
go to standard error, results and `--json` to standard output.
"""

Said = OptionInfo | ArgumentInfo


def commands(group: typer.Typer, name: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Commands by their names, as they are called; those of groups after the others."""
    for one in group.registered_commands:
        assert one.callback is not None
        yield f"{name} {one.name or one.callback.__name__.replace('_', '-')}", one.callback
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        yield from commands(inner.typer_instance, f"{name} {inner.name}")


def spelled(name: str, kind: type, said: Said) -> str:
    """How an option or argument is written."""
    if isinstance(said, ArgumentInfo):
        many = "..." if str(kind).startswith("list") else ""
        return f"`{said.metavar or name.upper() + many}`"
    # Within an annotation the first of an option's names is in the place of a default.
    ways = [one for one in (said.default, *(said.param_decls or ())) if isinstance(one, str)]
    option = "--" + name.replace("_", "-")
    ways = ways or [f"{option}/--no-{option[2:]}" if kind is bool else option]
    return ", ".join(f"`{way}`" for way in ways)


def meaning(kind: type, said: Said, default: Any) -> str:
    sentences = [said.help or ""]
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        sentences.append(f"One of {', '.join(f'`{one}`' for one in kind)}.")
    if said.min is not None or said.max is not None:
        ends = (f"from {said.min}", said.min), (f"to {said.max}", said.max)
        sentences.append(" ".join(text for text, end in ends if end is not None).capitalize() + ".")
    is_told = isinstance(default, str | int | float) and not isinstance(default, bool)
    if is_told and default != "":
        sentences.append(f"Default: `{default}`.")
    text = " ".join(filter(None, sentences))
    return text.replace("\\[", "[").replace("|", "\\|").replace("*", "\\*")


def section(name: str, callback: Callable[..., Any]) -> Iterator[str]:
    yield f"\n## {name}\n\n"
    for line in inspect.cleandoc(callback.__doc__ or "").splitlines():
        example = line.removeprefix("Example: ")
        yield f"{line}\n" if example == line else f"    {example}\n"
    yield from table(callback)


def table(callback: Callable[..., Any]) -> Iterator[str]:
    """Arguments and options with what they mean."""
    yield "\n| | |\n|---|---|\n"
    hints = get_type_hints(callback, include_extras=True)
    for name, parameter in inspect.signature(callback).parameters.items():
        kind, said = get_args(hints[name])
        if not said.hidden:
            yield f"| {spelled(name, kind, said)} | {meaning(kind, said, parameter.default)} |\n"


def of_the_program() -> Iterator[str]:
    """Options that come before the command."""
    assert app.registered_callback is not None and app.registered_callback.callback is not None
    callback = app.registered_callback.callback
    yield "\n## sr-cli\n\nBefore the command, as in `sr-cli --debug upscale photo.jpg`:\n"
    yield from table(callback)


def page() -> str:
    parts = [HEAD, *of_the_program()]
    for name, one in commands(app, "sr-cli"):
        parts += section(name, one)
    return "".join(parts)


def test_the_page_of_commands_is_what_the_program_says() -> None:
    if os.environ.get("SR_CLI_WRITE_DOCS"):
        PAGE.write_text(page(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page()
