"""`sr-cli models`: the zoo."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from sr_cli.cli import console, options
from sr_cli.zoo.manifest import DEFAULT_MODEL, Model, find, manifest

app = typer.Typer(help="The models there are.", no_args_is_help=True)


@app.command("list")
def list_models(as_json: options.Json = False) -> None:
    """List every model, released or not.

    Example: sr-cli models list
    """
    if as_json:
        for model in manifest().values():
            console.print_json(_facts(model))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("Model", "Scale", "Weights", "Purpose"):
        table.add_column(column)
    for model in manifest().values():
        name = model.name + (" (default)" if model.name == DEFAULT_MODEL else "")
        table.add_row(name, f"x{model.scale}", _where(model), model.purpose)
    console.out.print(table)


@app.command("show")
def show_model(
    name: Annotated[str, typer.Argument(help="Name from `sr-cli models list`.")] = DEFAULT_MODEL,
    as_json: options.Json = False,
) -> None:
    """Show what is known of one model: network, training, measured figures, skill of the estimate.

    Example: sr-cli models show dan-real-x4
    """
    model = find(name)
    if as_json:
        console.print_json(_facts(model))
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim")
    table.add_column()
    rows = {
        "model": model.name,
        "purpose": model.purpose,
        "network": f"{model.network} {dict(model.options)}",
        "degradation": f"{model.degradation}, {model.preset} preset",
        "weights": _where(model),
        "sha256": model.weights.sha256 if model.weights else "-",
        "licence": model.licence,
        "authors": model.authors,
        "paper": model.paper,
        "recipe": model.recipe,
        **{f"training: {key}": str(value) for key, value in model.training.items()},
    }
    for label, text in rows.items():
        table.add_row(label, text)
    for figure in model.figures:
        facts = ", ".join(f"{k} {v}" for k, v in figure.items() if k not in ("protocol", "data"))
        table.add_row(f"{figure['protocol']} on {figure['data']}", facts)
    console.out.print(table)
    if model.estimate:
        console.out.print(_skill_table(model))


def _skill_table(model: Model) -> Table:
    table = Table(title="Skill of the estimate on held-out pictures", box=None, pad_edge=False)
    for column in ("Number", "correlation", "mean error", "AUC"):
        table.add_column(column, justify="left" if column == "Number" else "right")
    for key, skill in model.estimate.items():
        auc = f"{skill['auc']:.3f}" if "auc" in skill else ""
        table.add_row(key, f"{skill['correlation']:.2f}", f"{skill['error']:.3g}", auc)
    return table


def _facts(model: Model) -> dict[str, object]:
    return asdict(model)


def _where(model: Model) -> str:
    if model.weights is None:
        return "not trained yet"
    return "bundled" if model.weights.bundled else f"hf:{model.weights.hub}"
