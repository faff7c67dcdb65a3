"""Measure the ONNX path beside torch and store what docs/onnx.md tells.

    python docs/measure_onnx.py --val DIR [--calibration DIR] [SECTION ...]

Sections: quality, speed, startup, zoo, int8 (all if none is named), or page for none.  Results are
merged into docs/results/onnx.json, and the figures of docs/onnx.md are written anew from there.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from sr_cli.export import making
from sr_cli.export.calibration import bundled, crops
from sr_cli.export.verify import verify
from sr_cli.images import find_pictures
from sr_cli.inference.engine import Engine
from sr_cli.inference.onnx_backend import OnnxBackend, threads
from sr_cli.inference.runtime import ort
from sr_cli.inference.torch_backend import TorchBackend
from sr_cli.metrics.evaluation import picture_tensor
from sr_cli.metrics.fidelity import psnr_y
from sr_cli.metrics.protocols import PROTOCOLS, Case
from sr_cli.networks import registry
from sr_cli.zoo.loading import LoadedModel
from sr_cli.zoo.manifest import Model, manifest

RESULTS = Path(__file__).parent / "results" / "onnx.json"
PAGE = Path(__file__).parent / "onnx.md"
FIGURES = "## Figures\n"
MODEL = "dan-real-x4"
ROUNDS = 9
LR_SHAPE = (180, 240)
"""Height and width of the picture that speed is measured on."""


def main() -> None:
    """Run the sections asked for, and keep the others' results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*")
    parser.add_argument("--val", type=Path, required=True)
    parser.add_argument("--calibration", type=Path)
    parser.add_argument("--again", action="store_true", help="measure stored networks of zoo, too")
    arguments = parser.parse_args()
    sections: dict[str, Callable[[argparse.Namespace], Any]] = {
        "quality": quality,
        "speed": speed,
        "startup": startup,
        "zoo": zoo,
        "int8": int8,
    }
    for name in arguments.sections or sections:
        if name == "page":
            continue
        found = sections[name](arguments)
        stored = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
        if name in ("speed", "startup"):  # the others are no matter of the machine
            stored["machine"] = machine()
        stored[name] = found
        RESULTS.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
        sys.stdout.write(f"{name}: {json.dumps(found)}\n")
        sys.stdout.flush()
    text = PAGE.read_text(encoding="utf-8").partition(FIGURES)[0]
    PAGE.write_text(text + FIGURES + page(json.loads(RESULTS.read_text())), encoding="utf-8")


def page(stored: dict[str, Any]) -> str:
    """The stored results in words."""
    of, quality, int8 = stored["machine"], stored["quality"], stored["int8"]
    speed, zoo = stored["speed"], list(stored["zoo"].values())
    seams = [
        max(one.values()) for name, one in quality["tiled_against_whole"].items() if "onnx" in name
    ]
    times = [
        f"| {name} | {one['least']:.2f} | {one['median']:.2f} |"
        for name, one in speed["seconds"].items()
    ]
    ratios = [f"{name} {one:.2f}" for name, one in speed["times_as_fast"].items()]
    height, width = speed["picture"]
    lines = [
        "",
        f"{of['processor']}, {of['threads']} threads, shared with other work while this was",
        f"measured; torch {of['torch']}, onnxruntime {of['onnxruntime']}.",
        "",
        "    python docs/measure_onnx.py --val val/"
        + ("" if int8["calibration"] == "bundled pictures" else " --calibration train/"),
        "",
        f"- {len(zoo)} of the zoo's {len(manifest())} models, with random weights where there are "
        f"none yet: largest difference from torch "
        f"{max(one['picture'] for one in zoo):.1e} in the picture (a single pixel to 64x48, "
        f"batches of up to 3), {max(one['estimate'] for one in zoo):.1e} in the estimate, "
        f"{max(one['tiled'] for one in zoo):.1e} in tiles.",
        f"- {MODEL} on {quality['cases']} held-out pictures (protocol `real`), fp32: PSNR-Y "
        f"{quality['psnr_y'][1]:.4f} dB, torch {quality['psnr_y'][0]:.4f} dB; on no picture do "
        f"they differ by more than {max(quality['largest_psnr_difference_db'], 1e-5):.0e} dB, in "
        f"no number of the estimate by more than {quality['largest_estimate_difference']:.0e}.",
        f"- Tiled against whole, both through ONNX Runtime, tiles of 40, 64, 128: {max(seams):g}.",
        f"- int8, calibrated on {int8['calibration']}: {int8['mean_loss_db']:.3f} dB less PSNR-Y "
        f"than fp32, {int8['psnr_between_db']:.1f} dB between the two.",
        f"- From the start of `upscale --model FILE.onnx` without torch to the first tile: "
        f"{stored['startup']['seconds']['median']:.2f} s.",
        f"- Seconds for a picture of {width}x{height} (rounds in turn, {speed['rounds']} each):",
        "",
        "| | least | median |",
        "|---|---|---|",
        *times,
        "",
        f"Times as fast, median of the rounds: {'; '.join(ratios)}.",
    ]
    return "\n".join(lines) + "\n"


def machine() -> dict[str, Any]:
    """What the figures are of."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": names[0] if names else platform.processor(),
        "threads": threads(),
        "torch": torch.__version__,
        "onnxruntime": ort.__version__,
    }


def engines(*precisions: str, calibration: Path | None = None) -> dict[str, Engine]:
    """Of the model, by backend and precision."""
    origin = making.source(MODEL)
    network = origin.loaded.network
    made: dict[str, Engine] = {}
    for name in precisions:
        backend, _, precision = name.partition(" ")
        if backend == "torch":
            made[name] = Engine(TorchBackend(network, torch.device("cpu"), precision))  # type: ignore[arg-type]
        else:
            shown = crops(calibration, 4) if calibration else bundled(4)
            made[name] = Engine(OnnxBackend(making.made(origin, precision, 18, shown)))  # type: ignore[arg-type]
    return made


def cases(folder: Path) -> Iterator[Case]:
    """The protocol `real` with seed 0."""
    (condition,) = PROTOCOLS["real"].at(4).conditions
    for path in find_pictures(folder, recursive=False):
        hr = picture_tensor(path)
        height, width = (side // 4 * 4 for side in hr.shape[-2:])
        yield condition.degrade(path.name, hr[:, :height, :width], 0)


def compared(folder: Path, first: Engine, second: Engine) -> dict[str, Any]:
    """PSNR of two engines against the truth, and how far they are from one another."""
    scores: list[tuple[float, float]] = []
    between: list[float] = []
    pixels = vectors = 0.0
    for case in cases(folder):
        rgb = np.ascontiguousarray(case.lr.permute(1, 2, 0).numpy())
        results = [engine.upscale(rgb) for engine in (first, second)]
        assert case.hr is not None
        a, b = (torch.from_numpy(one.rgb).permute(2, 0, 1)[None] for one in results)
        scores.append(tuple(float(psnr_y(x, case.hr[None], 4)[0]) for x in (a, b)))  # type: ignore[arg-type]
        difference = np.abs(results[0].rgb - results[1].rgb)
        between.append(float(-10 * np.log10(np.mean(np.square(difference)) + 1e-20)))
        pixels = max(pixels, float(difference.max()))
        assert results[0].vector is not None and results[1].vector is not None
        vectors = max(vectors, float(np.abs(results[0].vector - results[1].vector).max()))
    means = [statistics.fmean(one[i] for one in scores) for i in (0, 1)]
    return {
        "cases": len(scores),
        "psnr_y": [round(one, 4) for one in means],
        "mean_loss_db": round(means[0] - means[1], 5),
        "largest_psnr_difference_db": round(max(abs(a - b) for a, b in scores), 5),
        "largest_pixel_difference": pixels,
        "largest_estimate_difference": vectors,
        "psnr_between_db": round(statistics.fmean(between), 2),
    }


def quality(arguments: argparse.Namespace) -> dict[str, Any]:
    """fp32 through ONNX against fp32 through torch, and tiled against whole."""
    both = engines("torch fp32", "onnx fp32")
    found = {"methods": list(both)} | compared(arguments.val, *both.values())
    first = next(cases(arguments.val))
    rgb = np.ascontiguousarray(first.lr.permute(1, 2, 0).numpy())
    tiled: dict[str, Any] = {}
    for name, engine in both.items():
        whole = engine.upscale(rgb, 0)
        for tile in (40, 64, 128):
            part = engine.upscale(rgb, tile)
            assert whole.vector is not None and part.vector is not None
            tiled[f"{name}, tiles of {tile}"] = {
                "picture": float(np.abs(whole.rgb - part.rgb).max()),
                "estimate": float(np.abs(whole.vector - part.vector).max()),
            }
    return found | {"tiled_against_whole": tiled}


def speed(arguments: argparse.Namespace) -> dict[str, Any]:
    """All on one picture, in turn, so that a busy machine slows all of them."""
    torch.set_num_threads(threads())
    names = ("torch fp32", "onnx fp32", "torch bf16", "onnx int8")
    return timed(engines(*names, calibration=arguments.calibration))


def timed(all_engines: dict[str, Engine]) -> dict[str, Any]:
    """Least and median seconds of some rounds."""
    rgb = np.random.default_rng(0).random((*LR_SHAPE, 3), np.float32)
    seconds: dict[str, list[float]] = {name: [] for name in all_engines}
    for number in range(ROUNDS + 1):
        for name, engine in all_engines.items():
            began = time.perf_counter()
            engine.upscale(rgb)
            if number:
                seconds[name].append(time.perf_counter() - began)
    return {
        "picture": list(LR_SHAPE),
        "rounds": ROUNDS,
        "seconds": {
            name: {"least": round(min(one), 3), "median": round(statistics.median(one), 3)}
            for name, one in seconds.items()
        },
        # Round by round, so that what else the machine does falls out.
        "times_as_fast": {
            f"{fast} as {slow}": round(
                statistics.median(a / b for a, b in zip(seconds[slow], seconds[fast], strict=True)),
                2,
            )
            for slow, fast in (
                ("torch fp32", "onnx fp32"),
                ("torch fp32", "torch bf16"),
                ("onnx fp32", "onnx int8"),
                ("torch bf16", "onnx int8"),
            )
        },
    }


def startup(arguments: argparse.Namespace) -> dict[str, Any]:
    """From the start of the process to the first call of the network, where torch is blocked."""
    file = making.made(making.source(MODEL))
    with tempfile.TemporaryDirectory() as folder:
        model, picture = Path(folder) / "model.onnx", Path(folder) / "in.png"
        making.write(file, model)
        Image.new("RGB", (64, 64)).save(picture)
        code = f"""
import sys, time
sys.modules["torch"] = None
from sr_cli.inference import walk
def first(*_, **__):
    print(time.time())
    sys.exit()
walk.Walk._run = first
sys.argv = ["sr-cli", "upscale", {str(picture)!r}, "--model", {str(model)!r}, "--overwrite"]
from sr_cli.cli.main import run
run()
"""
        took: list[float] = []
        for _ in range(ROUNDS + 1):
            began = time.time()
            done = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True
            )
            took.append(float(done.stdout.split()[0]) - began)
    return {
        "seconds": {
            "least": round(min(took[1:]), 3),
            "median": round(statistics.median(took[1:]), 3),
        }
    }


def zoo(arguments: argparse.Namespace) -> dict[str, Any]:
    """Every network of the manifest, with random weights where there are none yet.

    Takes minutes a network, so each is stored when it is done, and a later run goes on from there
    unless all are to be measured again.
    """
    stored = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    found: dict[str, Any] = {} if arguments.again else stored.get("zoo", {})
    done = {_build(model): found[name] for name, model in manifest().items() if name in found}
    for model in _families_in_turn():
        if _build(model) not in done:
            done[_build(model)] = exported_and_verified(model)
        found[model.name] = done[_build(model)]
        RESULTS.write_text(json.dumps(stored | {"zoo": found}, indent=1) + "\n", encoding="utf-8")
        sys.stdout.write(f"{model.name}: {found[model.name]}\n")
        sys.stdout.flush()
    return found


def _families_in_turn() -> list[Model]:
    """The manifest, one of every family first."""
    numbers: dict[str, int] = {}
    places: dict[str, int] = {}
    for model in manifest().values():
        places[model.name] = numbers[model.network] = numbers.get(model.network, 0) + 1
    return sorted(manifest().values(), key=lambda model: places[model.name])


def _build(model: Model) -> str:
    return json.dumps([model.network, dict(model.options)], sort_keys=True)


def exported_and_verified(model: Model) -> dict[str, Any]:
    """The differences from torch, and the size of the file."""
    torch.manual_seed(0)
    network = registry.family(model.network).build(**model.options).eval()
    loaded = LoadedModel(model.name, network, model.scale, None, {})
    file = making.made(making.Source(loaded, "0" * 64, None))
    return asdict(verify(file, network)) | {"megabytes": round(file.model.ByteSize() / 1e6, 1)}


def int8(arguments: argparse.Namespace) -> dict[str, Any]:
    """int8 against fp32, both through ONNX."""
    both = engines("onnx fp32", "onnx int8", calibration=arguments.calibration)
    calibrated = arguments.calibration.name if arguments.calibration else "bundled pictures"
    found = {"calibration": calibrated, "methods": list(both)}
    return found | compared(arguments.val, *both.values())


if __name__ == "__main__":
    main()
