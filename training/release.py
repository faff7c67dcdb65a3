"""From a finished run to released weights: a float16 file and its entry in the manifest.

    python -m training.release RUN --recipe R --licence Apache-2.0 --authors "A. Person"

With ``--eight-bits`` the file is half as large and the pictures are the same to the eye; the
figures have to be those of that file (docs/design-notes.md has what it costs).

Figures are not typed in: they are read from JSON files that `sr-cli evaluate --json` wrote, and are
those of these very weights.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sr_cli.temporary import replacing
from sr_cli.zoo import card, store, weights
from sr_cli.zoo.loading import load
from sr_cli.zoo.manifest import ZooError
from sr_cli.zoo.schema import problems
from training.packing import entry_of, placed, run_facts, write_weights
from training.recipe import Recipe, RecipeError, load_recipe


def updated_manifest(
    manifest: Path,
    recipe: Recipe,
    file: Path,
    training: dict[str, Any],
    figures: list[dict[str, Any]],
    skill: dict[str, Any] | None,
    digest: str,
    licence: str,
    authors: str,
) -> str:
    """A manifest in which a model's entry points at new weights, with what was measured of them.

    Args:
        manifest: The manifest's file; a model that is not in it gets an entry at its end.
        recipe: What the weights were trained by.
        file: The weights file, wherever it is now.
        training: Facts about the run.
        figures: Objects as `sr-cli evaluate --json` prints them, of these weights.
        skill: The ``skill`` of the model in one of them, measured on many degradations.
        digest: Of the file's numbers, see `sr_cli.zoo.weights.digest`.
        licence: Of the weights, as SPDX calls it.
        authors: Who made them.

    Returns:
        The file's new text.

    Raises:
        ValueError: It would not be valid.
        ZooError: The model is not in it, and no other has its network.
    """
    document = json.loads(manifest.read_text(encoding="utf-8"))
    entry = next((m for m in document["models"] if m["name"] == recipe.model), None)
    if entry is None:
        entry = entry_of(card.described(file), file)
    document["models"] = placed(document["models"], entry)
    _, header = weights.read(file)
    entry["options"] = weights.told_options(header, file)
    entry["recipe"] = recipe.name
    entry["preset"] = recipe.data.trained_for
    entry["licence"], entry["authors"] = licence, authors
    entry["training"] = training | card.told_start(header)
    entry["weights"] = {
        "bundled": file.name,
        "hub": entry["weights"]["hub"] if entry["weights"] else None,
        "sha256": store.sha256(file),
        "bytes": file.stat().st_size,
        "numbers_sha256": digest,
    }
    entry["figures"] = [_figure(figure, recipe.model) for figure in figures]
    entry["estimate"] = skill or {}
    if wrong := problems(document):
        raise ValueError(f"the manifest would not be valid: {wrong[0]}")
    return json.dumps(document, indent=1) + "\n"


def _has(manifest: Path, model: str) -> bool:
    """Whether a manifest has an entry of that name."""
    document = json.loads(manifest.read_text(encoding="utf-8"))
    return model in [entry["name"] for entry in document["models"]]


def _check_weights(answer: dict[str, Any], model: str, digest: str, path: Path) -> None:
    """Whether it was these weights that were measured.

    Raises:
        ValueError: It was others, or nobody knows.
    """
    if "weights" not in answer:
        raise ValueError(f"{path} does not say of which weights it is: measure again")
    if _of(model, answer["weights"], f"the weights of {path}") != digest:
        raise ValueError(
            f"{path} is of other weights than these: release without it, measure the file that "
            "was written, release again"
        )


def _figure(answer: dict[str, Any], model: str) -> dict[str, Any]:
    facts = {key: answer[key] for key in ("protocol", "data", "seed", "cases", "date")}
    ours = _of(model, answer["methods"], f"the figures on {answer['data']}")
    for name, value in ours.items():
        facts[name] = round(value, 4)
        if name in answer["methods"]["bicubic"]:  # which estimates no kernel
            facts[f"bicubic_{name}"] = round(answer["methods"]["bicubic"][name], 4)
    return facts


def _of(model: str, told: Any, what: str) -> Any:
    """What is told of a model, by its name or that of its file, wherever that was."""
    names = (model, f"{model}.safetensors")
    found = [value for name, value in told.items() if Path(name).name in names]
    if not found:
        raise ValueError(f"{what} are not of {model}")
    return found[0]


def _read(path: Path) -> dict[str, Any]:
    answer = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(answer, dict):
        raise TypeError(f"{path} holds no object")
    return answer


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m training.release", description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--set", action="append", default=[], dest="changes")
    parser.add_argument("--licence", required=True, help="of the weights, as SPDX calls it")
    parser.add_argument("--authors", required=True, help="who made them")
    parser.add_argument("--weights", type=Path, default=Path("sr_cli/weights"), help="a folder")
    parser.add_argument("--manifest", type=Path, default=Path("weights_manifest.json"))
    parser.add_argument("--device", default="unknown", help="what it was trained on")
    parser.add_argument("--eight-bits", action="store_true", help="half the file of float16")
    parser.add_argument("--figures", type=Path, action="append", default=[])
    parser.add_argument("--skill", type=Path, help="JSON of evaluate --estimate-only --repeats N")
    options = parser.parse_args(arguments)
    if not options.weights.is_dir():
        parser.error(
            f"{options.weights} is not a folder: release from the folder of the source code, or "
            "name others with --weights and --manifest"
        )
    try:
        recipe = load_recipe(options.recipe, options.changes)
        measured = {path: _read(path) for path in (*options.figures, options.skill) if path}
        figures = [measured[path] for path in options.figures]
        skill = None
        if options.skill:
            skill = _of(recipe.model, measured[options.skill]["skill"], "the skills")
        facts = {**run_facts(options.run, recipe), "device": options.device}
        # The weights take their place only when all that is said of them is known to be right.
        with tempfile.TemporaryDirectory(dir=options.weights) as folder:
            file = write_weights(
                *(options.run, recipe, Path(folder), options.licence), small=options.eight_bits
            )
            digest = load(str(file)).digest
            for path, answer in measured.items():
                _check_weights(answer, recipe.model, digest, path)
            text = updated_manifest(
                *(options.manifest, recipe, file, facts, figures, skill, digest),
                licence=options.licence,
                authors=options.authors,
            )
            new = not _has(options.manifest, recipe.model)
            with replacing(options.manifest) as stream:
                stream.write(text.encode())
                stream.flush()  # notices a full disk
                file = file.replace(options.weights / file.name)
    except KeyError as error:
        parser.error(f"what was measured lacks {error}: give what `sr-cli evaluate --json` wrote")
    except (TypeError, AttributeError) as error:
        parser.error(f"what was measured is nothing that `sr-cli evaluate --json` wrote: {error}")
    except (RecipeError, ZooError, OSError, ValueError) as error:
        parser.error(str(error))
    if new:  # which a misspelt name is, too
        sys.stdout.write(f"{options.manifest}: '{recipe.model}' is a new model at its end\n")
    sys.stdout.write(f"{file}: {file.stat().st_size} bytes, sha256 {store.sha256(file)}\n")


if __name__ == "__main__":
    main()
