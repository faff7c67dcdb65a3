"""A model as a repository of the Hugging Face Hub: its card, its configuration, its weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sr_cli import __version__
from sr_cli.zoo import store
from sr_cli.zoo.manifest import Model, Weights, ZooError, find, manifest

WEIGHTS_NAME = "model.safetensors"
CONFIG_NAME = "config.json"
CARD_NAME = "README.md"

START = ("start", "start_numbers_sha256", "start_licence", "start_before")
"""What a header, and ``training`` of an entry, tell of the weights that a run went on from: what
they are called, which they are, under which licence they came, and what they went on from."""
CHANGED = "recipe_changed"
"""Told there, too, where a recipe is no longer the bundled one of its name."""

_MEASURES = {"psnr_y": "PSNR-Y, dB", "ssim_y": "SSIM-Y", "lpips_squeeze": "LPIPS (SqueezeNet)"}


def write_folder(name: str, folder: Path, repo: str) -> list[Path]:
    """Write all that a repository is to hold.

    Args:
        name: A name of the manifest, or a weights file of a known network.
        folder: An existing, empty folder.
        repo: ``owner/name`` of the repository, for the examples of the card.

    Returns:
        The files: card, configuration, weights.

    Raises:
        ZooError: There is no such model, or its weights cannot be had.
    """
    if name.endswith(".safetensors"):
        path = Path(name)
        model = described(path)
    elif Path(name).suffix in (".pth", ".pt", ".ckpt"):
        raise ZooError(
            f"{name} is a pickle, which nobody should have to trust. Convert it first: "
            f"`sr-cli convert {name} {Path(name).stem}.safetensors`."
        )
    else:
        model = find(name)
        path = store.locate(model)
    files = [folder / CARD_NAME, folder / CONFIG_NAME, folder / WEIGHTS_NAME]
    files[0].write_text(card(model, repo), encoding="utf-8")
    files[1].write_text(json.dumps(config(model), indent=2) + "\n", encoding="utf-8")
    shutil.copyfile(path, files[2])
    return files


def config(model: Model) -> dict[str, Any]:
    """What a program needs to build the network and use its numbers."""
    return {
        "library": "sr-cli",
        "library_version": __version__,
        "name": model.name,
        "network": model.network,
        "options": dict(model.options),
        "scale": model.scale,
        "tiling": model.tiling,
        "degradation": model.degradation,
        "preset": model.preset,
        "ranges": {key: list(pair) for key, pair in model.ranges.items()},
        "sha256": model.weights.sha256 if model.weights else None,
        "estimate": {key: dict(skill) for key, skill in model.estimate.items()},
    }


def card(model: Model, repo: str) -> str:
    """The model card: front matter in YAML, then text in Markdown."""
    blocks = [_front_matter(model), f"# {model.name}", f"{model.purpose}.", _usage(repo)]
    blocks += _facts(model)
    if model.figures:
        blocks += ["## Measured", *_measured(model.figures, repo)]
    if model.paper.figures:
        blocks += [f"## Reported by {model.paper.authors} for their own weights"]
        blocks += [_table(("Data", "Figures"), _reported(model.paper.figures))]
    if model.estimate:
        blocks += [
            "## What the estimate is worth",
            "Correlation with the truth and mean absolute error on held-out pictures. sr-cli calls "
            "a number with a correlation below 0.3 not known.",
            _table(("Number", "Correlation", "Error"), _skills(model.estimate)),
        ]
    return "\n\n".join(blocks) + "\n"


def _front_matter(model: Model) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="image-to-image",
            task_name=f"x{model.scale} super-resolution",
            dataset_type=str(figure["data"]),
            dataset_name=f"{figure['data']} ({figure['protocol']} protocol of sr-cli)",
            metric_type=key,
            metric_name=label,
            metric_value=figure[key],
        )
        for figure in model.figures
        for key, label in _MEASURES.items()
        if key in figure
    ]
    data = ModelCardData(
        license=_licence(model),
        library_name="sr-cli",
        pipeline_tag="image-to-image",
        tags=["super-resolution", "blind-super-resolution", model.network.lower()],
        model_name=model.name,
        eval_results=results or None,
    )
    return f"---\n{data.to_yaml().strip()}\n---"


def _licence(model: Model) -> str:
    """As the Hub spells it: its list has small letters only."""
    return model.licence.lower() if model.licence else "unknown"


def _reference(repo: str) -> str:
    return f"hf:{repo}/{WEIGHTS_NAME}"


def _usage(repo: str) -> str:
    reference = _reference(repo)
    return "\n".join(
        (
            "```sh",
            "pip install sr-cli",
            f"sr-cli upscale photo.jpg --model {reference}",
            "```",
            "",
            "```python",
            "import sr_cli",
            "",
            f'large = sr_cli.load("{reference}").upscale(image)  # PIL, numpy or torch',
            "```",
        )
    )


def _facts(model: Model) -> Iterator[str]:
    settings = ", ".join(f"{key} {value}" for key, value in model.options.items())
    paper = model.paper
    rows = [
        ("Network", f"{model.network} ({settings})"),
        ("Trained for", f"the {model.preset} degradation of sr-cli"),
        ("Estimates", f"the {model.degradation} vector" if model.degradation else "nothing"),
        ("Tiles", model.tiling),
        ("Recipe", _recipe(model)),
        *_training(model.training),
        ("Licence", str(model.licence or "unknown")),
        ("Authors of the weights", str(model.authors or "unknown")),
        ("Paper", f"{paper.authors}, *{paper.title}* ({paper.year}) {paper.url or ''}".strip()),
    ]
    yield "## Facts"
    yield _table(("What", "Value"), rows)


def _recipe(model: Model) -> str:
    if model.recipe == "unknown":
        return "unknown"
    if not store.has_recipe(model.recipe):
        return f"`{model.recipe}` (not one of `sr-cli train --list`)"
    if CHANGED in model.training:
        return f"`{model.recipe}`, changed: not as `sr-cli train --list` has it"
    return f"`{model.recipe}` (see `sr-cli train --list`)"


def _training(training: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if "start" in training:
        said = f"`{training['start']}`"
        if "start_licence" in training:
            said += f", {training['start_licence']}"
        if "start_numbers_sha256" in training:
            said += f", sha256 of its numbers `{training['start_numbers_sha256']}`"
        if "start_before" in training:
            said += f"; that from {training['start_before']}"
        yield "Went on from", said
    for key, value in training.items():
        if key not in (*START, CHANGED):
            yield key.capitalize(), str(value)


def _measured(figures: Sequence[Mapping[str, Any]], repo: str) -> Iterator[str]:
    rows = []
    for figure in figures:
        for key, label in _MEASURES.items():
            if key in figure:
                where = f"{figure['data']}, {figure['protocol']}, {figure['cases']} cases"
                bicubic = str(figure.get(f"bicubic_{key}", "-"))
                rows.append((where, label, str(figure[key]), bicubic, figure["date"]))
    yield _table(("Data and protocol", "Measure", "This model", "Bicubic", "Date"), rows)
    yield (
        "Repeatable from any folder of pictures: `sr-cli evaluate --data DIR --protocol NAME "
        f"--model {_reference(repo)}`."
    )


def _reported(figures: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    for figure in figures:
        numbers = ", ".join(f"{key} {value}" for key, value in figure.items() if key != "data")
        yield str(figure["data"]), numbers


def _skills(estimate: Mapping[str, Mapping[str, float]]) -> Iterator[tuple[str, ...]]:
    for key, skill in estimate.items():
        yield key, f"{skill['correlation']:.2f}", f"{skill['error']:.3g}"


def _table(head: Sequence[str], rows: Any) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def described(path: Path) -> Model:
    """What a weights file tells of itself; of its network, what the zoo knows.

    Nothing that was measured or reported of other weights is taken over, nor are another model's
    aliases.

    Raises:
        ZooError: It is no weights file, or no model of the zoo has its network.
    """
    from sr_cli.zoo.loading import recognise

    known = recognise(path)
    like = _like(known.family.name, known.options)
    header = known.header
    scale = int(known.options["scale"])
    name = header.get("model", path.stem)
    itself = manifest().get(name)
    return replace(
        like,
        name=name,
        aliases=itself.aliases if itself else (),
        purpose=f"{known.family.name} for pictures enlarged x{scale}",
        options=known.options,
        scale=scale,
        preset=header.get("preset", "unknown"),
        ranges={},
        weights=Weights(None, None, store.sha256(path), path.stat().st_size),
        licence=header.get("licence"),
        authors=header.get("authors"),
        paper=replace(like.paper, figures=()),
        recipe=header.get("recipe", "unknown"),
        training={
            key: int(header[key]) if header[key].isdecimal() else header[key]
            for key in ("steps", "seconds", "device", "vector", CHANGED)
            if key in header
        }
        | told_start(header),
        figures=(),
        estimate={},
    )


def told_start(header: Mapping[str, str]) -> dict[str, str]:
    """What a header tells of the weights that these went on from; empty where it tells nothing."""
    return {key: header[key] for key in START if key in header}


def _like(network: str, options: Mapping[str, Any]) -> Model:
    """The model of the manifest that has most options in common with a network of its family."""
    models = [model for model in manifest().values() if model.network == network]
    if not models:
        raise ZooError(f"No model of the zoo has the network {network}, so it has no card.")
    return max(models, key=lambda model: len(model.options.items() & options.items()))
