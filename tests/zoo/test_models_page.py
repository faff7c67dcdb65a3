"""docs/models.md: what works of every model, told from the manifest and the registry.

With SR_CLI_WRITE_DOCS set the page is written; else the one that is there must be the same.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from sr_cli.networks import registry
from sr_cli.zoo import store
from sr_cli.zoo.loading import load as zoo_load
from sr_cli.zoo.manifest import DEFAULT_MODEL, Model, manifest
from tests.networks.references import CONDENSED, HERE, load

PAGE = Path(__file__).parents[2] / "docs" / "models.md"

HEAD = """# Models: every network of the papers, and what works

Made by `SR_CLI_WRITE_DOCS=1 pytest tests/zoo/test_models_page.py` from `weights_manifest.json` and
the registry of networks; the tests fail if this page is not what they find.

- *Checked* names the published network that ours equals: with the same weights both give the same
  pictures (`tests/networks`), and a checkpoint in its authors' names works as `--model FILE` and
  with `sr-cli convert` (`tests/zoo/test_checkpoints.py`). Nobody published DMSR's, which follows
  the tables of its paper, nor the body of DAN alone.
- *Tiles*: `exact` and `local` give the pixels of the whole picture whatever the tile; `blended`
  ones know only of themselves, overlap widely and are blended.
- *Estimate* is what the network says of the degradation; only a vector is shown in words.
- *Recipe* is a file of `training/recipes` if there is one.
- *Paper* is PSNR of the authors' own weights in dB: on the Y channel, on the first data set of
  `sr-cli models show NAME`, which lists the others; in RGB for PDM. Data in
  brackets are DMSR's blur and noise.
- *Ours* is measured on the released weights: protocol, data and PSNR-Y, with bicubic interpolation
  in brackets. Figures of different data do not compare.
"""

BETWEEN = """
## Between two models

Weights that were trained on from each other lie on a line of which every point is a network (Wang
et al., "ESRGAN", Sec. 3.4). `upscale --sharpness 0.5` takes a point between dan-real-x4 (0) and
dan-real-gan-x4 (1); `--model FIRST+SECOND:0.5`, in every command and in Python, does so with any
two weights of one network. Estimates are told with the worse of both skills. The 20 held-out
photographs under `real`:

| sharpness | PSNR-Y | SSIM-Y | lpips-squeeze | niqe-own |
| --- | --- | --- | --- | --- |"""

STORED = ("real-val.json", "mixture-val.json", "real-dan-real-gan-x4-val.json")
"""Runs at the sharpness 0, 0.5 and 1, in docs/results: of these weights, or the page is wrong."""

BESIDES = """
Besides, `bicubic` interpolation is printed beside every model by `sr-cli evaluate`; it has no
network and no entry. PDM's degradation networks and all discriminators are for training only
(but `sr-cli degrade --degradation` takes the former's weights).
"""

FOOT = """
    sr-cli evaluate --model dan-real-x4+dan-real-gan-x4:0.5 --data val --protocol real --seed 0 \\
        --features features --niqe --json > docs/results/mixture-val.json

## Other files

- `--model FILE` takes `.safetensors`, `.pth`, `.pt` and `.ckpt` of the networks above, told apart
  by the names of their tensors: plain or under `params_ema`, `params`, `state_dict`, `model` or
  `ema`, with or without `module.`. Pickles are read as plain tensors or refused.
- `--model hf:owner/repo/file[@revision]` takes the same from the Hugging Face Hub. `HF_HOME`,
  `HF_HUB_OFFLINE`, `HF_ENDPOINT` and `HF_TOKEN` mean what they mean everywhere.
- With `pip install 'sr-cli[spandrel]'`, `--model FILE` also takes the networks that spandrel knows
  (SwinIR, SPAN, Compact and dozens more), without an estimate and with blended tiles. It brings
  torchvision along, which may exchange your torch: name the version that you have beside it. The
  other way round, `sr_cli.integrations.spandrel.install()` makes spandrel read the networks above.
- The number of iterations leaves no trace in weights. Our files tell it in their header; of others
  it is taken as published.

## Adding a model

One file in `sr_cli/networks` with a `FAMILY` at its end, one entry in `weights_manifest.json`.
`sr_cli/zoo/manifest.py` says what the fields of an entry mean, `sr_cli/zoo/schema.py` what they may
hold; a manifest that is not valid is refused with the place of the mistake. Model and card go to
the Hub with `sr-cli models publish NAME --repo owner/repo` (`--dry-run` writes them to a folder).

The file trains, saves, opens, enlarges and exports without the entry; model card and manifest entry
of a run come once the manifest has a model of its network (`python -m training.packing RUN` makes
them later). What options and second output of a network have to be like is told in
`sr_cli/networks/family.py`. This page is written by
`SR_CLI_WRITE_DOCS=1 pytest tests/zoo/test_models_page.py`; measured figures are kept as JSON in
`docs/results/`, of which `python docs/make_results.py` makes the page.
"""


@cache
def references() -> list[tuple[str, str, dict[str, Any]]]:
    """Published networks with outputs to compare with: name, family and options."""
    found = []
    paths = [*HERE.glob("*.json"), *CONDENSED.glob("*.npz")]
    for path in sorted({path.stem: path for path in paths}.values(), key=lambda path: path.stem):
        try:
            family, options, _ = registry.recognise(load(path.with_suffix("")).state)
        except KeyError:
            continue  # a discriminator or a degradation network
        found.append((path.stem, family.name, options))
    return found


def checked(model: Model) -> str:
    """The published network that is a model's very own."""
    wanted = model.options.items()
    names = (
        name
        for name, family, options in references()
        if family == model.network and wanted <= options.items()
    )
    found = next(names, None)
    return f"`{found}`" if found else "-"


@cache
def parameters(network: str, options: tuple[tuple[str, Any], ...]) -> int:
    with torch.device("meta"):
        built = registry.family(network).build(**dict(options))
    return sum(parameter.numel() for parameter in built.parameters())


def row(model: Model) -> Sequence[str]:
    count = parameters(model.network, tuple(model.options.items()))
    theirs = "-"
    for figure in model.paper.figures[:1]:
        theirs = f"{figure['data']} {figure.get('psnr_y', figure.get('psnr_rgb')):.2f}"
    return (
        f"`{model.name}`" + (" (default)" if model.name == DEFAULT_MODEL else ""),
        f"{model.network}, {count / 1e6:.2f} M",
        checked(model),
        model.tiling,
        registry.family(model.network).estimates or "-",
        f"`{model.recipe}`" if store.has_recipe(model.recipe) else "not yet",
        "not yet" if model.weights is None else "bundled" if model.weights.bundled else "Hub",
        theirs,
        ours(model),
    )


def ours(model: Model) -> str:
    if not model.figures:
        return "-"
    one = model.figures[0]
    return f"{one['protocol']}, {one['data']}: {one['psnr_y']:.2f} ({one['bicubic_psnr_y']:.2f})"


def measured(file: str) -> Iterator[str]:
    run = json.loads((PAGE.parent / "results" / file).read_text(encoding="utf-8"))
    (name,) = run["methods"].keys() - {"bicubic"}
    assert run["weights"][name] == zoo_load(name).digest, f"{file} is of other weights"
    figures = run["methods"][name]
    for key, places in (("psnr_y", 2), ("ssim_y", 3), ("lpips_squeeze", 3), ("niqe_own", 2)):
        yield f"{figures[key]:.{places}f}"


def page() -> Iterator[str]:
    yield HEAD
    head = ("Model", "Network", "Checked", "Tiles", "Estimate", "Recipe", "Weights", "Paper")
    for cells in ((*head, "Ours"), ["---"] * 9, *map(row, manifest().values())):
        yield f"| {' | '.join(cells)} |"
    yield BESIDES.rstrip()
    yield BETWEEN
    for sharpness, file in zip(("0", "0.5", "1"), STORED, strict=True):
        yield f"| {sharpness} | {' | '.join(measured(file))} |"
    yield FOOT.rstrip()


def test_the_page_has_a_row_for_every_model() -> None:
    text = "\n".join(page()) + "\n"
    if os.environ.get("SR_CLI_WRITE_DOCS"):
        PAGE.write_text(text, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == text
    assert all(f"`{name}`" in text for name in manifest())
