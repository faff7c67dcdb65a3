"""`sr-cli models`: the zoo."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from sr_cli.cli import console, options
from sr_cli.zoo import hub, store
from sr_cli.zoo.manifest import DEFAULT_MODEL, Model, ZooError, find, matching

HASH = 64
"""Characters of a sha256."""
ROOM = 60
"""Columns of a terminal that has room for what models are for, beside their names."""

app = typer.Typer(
    help="The models there are.",
    epilog="Example: sr-cli models show dan-real-x4",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="Name from `sr-cli models list`.")]
NameOrReference = Annotated[
    str,
    typer.Argument(help="Name from `sr-cli models list`, or hf:owner/repo/file\\[@revision]."),
]


@app.command("list")
def list_models(
    pattern: Annotated[str, typer.Argument(help='Of names, like "dan*" or "*-x4".')] = "*",
    as_json: options.Json = False,
) -> None:
    """List every model, released or not.

    Example: sr-cli models list "dan*"
    """
    found = matching(pattern)
    if not found:
        raise console.CommandError(
            f"No model fits '{pattern}'. `sr-cli models list` without a pattern shows all."
        )
    if as_json:
        for model in found:
            console.print_json(_facts(model))
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("Model", no_wrap=True)  # to be typed
    table.add_column("Scale", no_wrap=True)
    table.add_column("Weights")
    roomy = console.out.width >= ROOM
    if roomy:
        table.add_column("Purpose")
    for model in found:
        name = model.name + (" (default)" if model.name == DEFAULT_MODEL else "")
        purpose = (model.purpose,) if roomy else ()
        table.add_row(name, f"x{model.scale}", _where(model), *purpose)
    console.out.print(table)


@app.command("show")
def show_model(name: Name = DEFAULT_MODEL, as_json: options.Json = False) -> None:
    """Show what is known of one model: network, training, measured figures, skill of the estimate.

    Example: sr-cli models show dan-real-x4
    """
    model = find(name)
    if as_json:
        console.print_json(_facts(model))
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    # A hash is there to be copied: beside labels of this width it stays whole at eighty columns.
    table.add_column(style="dim", max_width=80 - 2 - HASH)
    table.add_column(min_width=HASH, overflow="fold")
    for label, text in _rows(model):
        table.add_row(label, text)
    console.out.print(table)
    if model.estimate:
        console.out.print(_skill_table(model))


@app.command("path")
def path_of_model(name: NameOrReference = DEFAULT_MODEL, as_json: options.Json = False) -> None:
    """Print where the weights are on this machine; nothing is fetched.

    Example: sr-cli models path dan-real-x4
    """
    if name.startswith(hub.PREFIX):
        path = hub.cached(hub.parse_reference(name))
    else:
        model = find(name)
        path = store.here(model)
        if model.weights is None:
            raise ZooError(store.how_to_get(model))
    if path is None:
        raise console.CommandError(
            f"The weights of {name} are not on this machine yet. `sr-cli models pull {name}` "
            "fetches them."
        )
    if as_json:
        console.print_json({"name": name, "path": str(path)})
    else:
        console.out.print(str(path))


@app.command("pull")
def pull_models(
    names: Annotated[
        list[str],
        typer.Argument(
            help='Names, patterns like "dan*", or hf:owner/repo/file\\[@revision].',
        ),
    ],
    as_json: options.Json = False,
) -> None:
    """Fetch weights, so that later runs need no network.

    Of a pattern, the models that have weights.

    Example: sr-cli models pull dan-real-x4
    """
    failures = _Failures(as_json)
    for name in _expanded(names, failures):
        with failures.of(name):
            if name.startswith(hub.PREFIX):
                path = hub.fetch(hub.parse_reference(name))
            else:
                path = store.locate(find(name))
            if as_json:
                facts = {"name": name, "path": str(path), "sha256": store.sha256(path)}
                console.print_json(facts)
            else:
                console.out.print(f"{name}  {path}")
    failures.leave()


@app.command("verify")
def verify_models(
    names: Annotated[
        list[str] | None, typer.Argument(help='Names or patterns like "dan*"; else all.')
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Check the weights on this machine against the manifest; nothing is fetched or deleted.

    Example: sr-cli models verify
    """
    wrong = 0
    failures = _Failures(as_json)
    for name in _expanded(names or ["*"], failures):
        with failures.of(name):
            model = find(name)
            state, path = _verified(model)
            wrong += state == "wrong"
            if as_json:
                where = str(path) if path else None
                console.print_json({"name": model.name, "state": state, "path": where})
            elif path is not None:
                console.out.print(f"{model.name}  {state}  {path}")
            elif names:
                console.out.print(f"{model.name}  {state}")
    if wrong:
        console.complain(
            "Weights marked wrong are not what was released. Delete a file of the Hub's cache and "
            "pull it again; for a bundled one, reinstall sr-cli."
        )
        raise typer.Exit(1)
    failures.leave()


@app.command("publish")
def publish_model(
    name: Annotated[
        str, typer.Argument(help="Name from `sr-cli models list`, or a weights file of your own.")
    ],
    repo: Annotated[str, typer.Option(help="Where on the Hub: owner/repo.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Keep what is published in this new folder.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a hidden repository.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write the folder (-o, else REPO's name) only.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Publish a model on the Hugging Face Hub: model card, configuration and weights.

    Whoever has the weights loads them with --model hf:OWNER/REPO/model.safetensors.
    Log in first with `hf auth login`, or set HF_TOKEN.

    Example: sr-cli models publish dan-real-x4 --repo me/dan-real-x4 --dry-run
    """
    from sr_cli.zoo import card

    hub.parse_repository(repo)
    with _folder(out or (Path(repo.split("/")[1]) if dry_run else None)) as folder:
        files = card.write_folder(name, folder, repo)
        address = None if dry_run else hub.upload(folder, repo, private=private)
        if as_json:
            written = [str(file) for file in files] if dry_run or out else []
            console.print_json({"name": name, "repo": repo, "files": written, "commit": address})
        elif address is not None:
            console.out.print(address)
        else:
            for file in files:
                console.out.print(f"{console.shown_path(file)}")


class _Failures:
    """What went wrong with single names, none of which stops the others."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.count = 0

    def tell(self, name: str, why: str) -> None:
        """Tells a failure of a name, on standard output as well where that is JSON."""
        self.count += 1
        console.complain(f"sr-cli: {why}")
        if self.as_json:
            console.print_json({"name": name, "error": why})

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """What is done with a name, which may fail."""
        try:
            yield
        except ZooError as error:
            self.tell(name, str(error))

    def leave(self) -> None:
        """Ends the command with 1 if anything went wrong."""
        if self.count:
            raise typer.Exit(1)


def _expanded(names: list[str], failures: _Failures) -> Iterator[str]:
    """Names and references as they are; patterns as the models with weights that they fit."""
    for name in names:
        if not set(name) & set("*?["):
            yield name
        elif found := [model.name for model in matching(name) if model.weights]:
            yield from found
        else:
            failures.tell(name, f"No model with weights fits '{name}'. See `sr-cli models list`.")


@contextmanager
def _folder(wanted: Path | None) -> Iterator[Path]:
    """A new folder: the wanted one, which goes if anything fails, or one that goes anyway."""
    if wanted is None:
        with tempfile.TemporaryDirectory() as place:
            yield Path(place)
        return
    if wanted.exists():
        raise console.CommandError(f"{wanted} is there already. Name a new folder with -o.")
    wanted.mkdir(parents=True)
    try:
        yield wanted
    except BaseException:
        shutil.rmtree(wanted)
        raise


def _verified(model: Model) -> tuple[str, Path | None]:
    if model.weights is None:
        return "not trained yet", None
    path = store.here(model)
    if path is None:
        return "not here", None
    return ("ok" if store.sha256(path) == model.weights.sha256 else "wrong"), path


def _rows(model: Model) -> Iterator[tuple[str, str]]:
    settings = ", ".join(f"{key} {value}" for key, value in model.options.items())
    yield "model", " = ".join((model.name, *model.aliases))
    yield "purpose", model.purpose
    yield "network", f"{model.network} ({settings})"
    yield "tiles", model.tiling
    yield "trained for", f"{model.preset} degradation"
    yield "estimates", f"{model.degradation} vector" if model.degradation else "-"
    yield "weights", _where(model)
    if model.weights:
        yield "sha256", model.weights.sha256
        yield "sha256 of numbers", str(model.weights.numbers_sha256)
        yield "licence", str(model.licence)
        yield "authors", str(model.authors)
    yield "recipe", model.recipe if store.has_recipe(model.recipe) else "no recipe yet"
    for key, value in model.training.items():
        yield f"training: {key}", str(value)
    for figure in model.figures:
        yield f"{figure['protocol']} on {figure['data']}", _numbers(figure)
    paper = model.paper
    yield "paper", f"{paper.authors}, {paper.title} ({paper.year}) {paper.url or ''}".rstrip()
    for figure in paper.figures:
        yield f"paper: {figure['data']}", _numbers(figure)


def _numbers(figure: Mapping[str, Any]) -> str:
    return ", ".join(f"{k} {v}" for k, v in figure.items() if k not in ("protocol", "data"))


def _skill_table(model: Model) -> Table:
    table = Table(title="Skill of the estimate on held-out pictures", box=None, pad_edge=False)
    for column in ("Number", "correlation", "mean error", "AUC"):
        table.add_column(column, justify="left" if column == "Number" else "right")
    for key, skill in model.estimate.items():
        auc = f"{skill['auc']:.3f}" if "auc" in skill else ""
        table.add_row(key, f"{skill['correlation']:.2f}", f"{skill['error']:.3g}", auc)
    return table


def _facts(model: Model) -> dict[str, object]:
    return asdict(model) | {"recipe_exists": store.has_recipe(model.recipe)}


def _where(model: Model) -> str:
    if model.weights is None:
        return "not trained yet"
    return "bundled" if model.weights.bundled else str(model.weights.hub)
