"""Write docs/results.md and its plots from the stored output of runs; nothing is typed in.

```
python docs/make_results.py [--manifest] [--only MODEL] [--data DIR [--beside DIR]]
```

Reads docs/results/*.json (what `sr-cli evaluate --json` printed), timing.json, bench*.json (of
`sr-cli bench --json`), and NAME-run.jsonl (the validation lines of a training run's log behind a
line on the run: its text and, for the outlook on more training, the operations of its steps and of
the published recipe as `python -m training.throughput` counts them). With `--data`, a folder that
holds `val`, `RealSRSet` and `real`, it makes the strips too. Those of RealSRSet and real are not
for the repository: they go to `--beside`, by default a folder beside it.
With `--manifest`, the figures of the manifest become those of the stored runs.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from results_page import compute, kernels, page, plots, stored, strips

from sr_cli.zoo.manifest import FILE_NAME, manifest
from training import curves

HERE = Path(__file__).resolve().parent
STORED = HERE / "results"
BESIDE = ("dan-real-x4", "dan-real-gan-x4")
"""Models of the README's picture."""
STRIPS_LIMIT = 210_000
"""Bytes that all strips in the repository may have together."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Write docs/results.md from stored runs.")
    parser.add_argument("--data", type=Path, help="makes strips of the pictures in here")
    parser.add_argument("--beside", type=Path, default=HERE.parents[1] / "sr-cli-strips")
    parser.add_argument("--only", metavar="MODEL", help="draws this model's pictures alone")
    parser.add_argument("--manifest", action="store_true", help="brings its figures up to date")
    options = parser.parse_args()
    runs = stored.load(STORED)
    if options.manifest:
        refresh(runs)
    models = list(manifest().values())
    share = min(100_000, STRIPS_LIMIT // max(1, sum(1 for model in models if model.weights)))
    for model in models:
        if not model.weights or options.only not in (None, model.name):
            continue
        draw(model.name, runs)
        if options.data:
            path = STORED / f"strip-{model.name}.jpg"
            protocol = "aniso" if model.degradation == "blur" else "real"
            strips.of_degraded(model.name, options.data / "val", protocol, path, share)
            if model.degradation == "blur":
                path = STORED / f"kernels-{model.name}.png"
                kernels.of_degraded(model.name, options.data / "val", path)
            for name in ("RealSRSet", "real"):
                path = options.beside / f"{model.name}-{name}.jpg"
                strips.of_real(model.name, options.data / name, path)
    if options.data and not options.only:
        images = HERE / "images"
        strips.before_after(images / "kitten.png", BESIDE, images / "before-after.jpg")
    text = page.render(models, runs, STORED)
    (HERE / "results.md").write_text(text, encoding="utf-8")
    for sentence in stored.disagreements(models, runs):
        sys.stderr.write(sentence + "\n")
    sys.stdout.write("docs/results.md\n")


def refresh(runs: tuple[stored.Run, ...]) -> None:
    """Bring the figures of the manifest up to date with the stored runs."""
    path = HERE.parent / FILE_NAME
    document = json.loads(path.read_text(encoding="utf-8"))
    for entry in document["models"]:
        stored.refresh(entry, runs)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def draw(model: str, runs: tuple[stored.Run, ...]) -> None:
    """The plots of one model."""
    mine = [run for run in runs if model in run.models]
    answers = [a for run in mine if not run.is_study for a in run.answers]
    measured = page.compared(model, answers)
    if measured:
        plots.per_picture(model, measured, STORED / f"pictures-{model}.png")
    for run in mine:
        if any(" T=" in method for method in run.answers[0]["methods"]):
            plots.iterations(run.answers[0], STORED / f"iterations-{model}.png")
    log = page.training_log(STORED, model)
    if log:
        curve = STORED / f"learning-{model}.png"
        curves.draw(log, curve)
        plots.pack(curve)
        if found := compute.measured(log):
            plots.operations(*found, STORED / f"operations-{model}.png")


if __name__ == "__main__":
    main()
