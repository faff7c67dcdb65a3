"""How fast a recipe trains here, what keeps it from going faster, and what the whole would take.

    python -m training.throughput dan-real-x4 --set phase.0.batch=4 --data photos/

Steps a second are measured twice: on one batch over and over, and on fresh batches from the real
pipeline; their ratio is what the data costs.  The operations of a step, counted by torch, over the
time of the first give the achieved rate, which is held against that of one large matrix product.

On a CPU that is busy with other things, OMP_NUM_THREADS=1 makes it count the processor's seconds
instead of the clock's: the figures are then those of one core that has nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from sr_cli.precision import automatic_precision
from training.corpus import Corpus, CorpusError, read_corpus
from training.degradations import degrader
from training.feeder import Feeder
from training.initial import build_network
from training.later import LATER, Moment
from training.learner import Learner
from training.losses import Objectives
from training.losses.features import FeaturesError
from training.pool import Pairs
from training.processes import Processes
from training.recipe import RecipeError, load_recipe
from training.schema import Recipe
from training.session import spare_threads
from training.traffic import Traffic, count
from training.trainer import LOG_EVERY

DRAWS = 5
"""Of resize factors, over which what degrading costs is averaged."""
SMALL = 21 * 21 + 1
"""More numbers a pair than its parameters and kernels have, which are computed on the CPU."""


@dataclass(frozen=True)
class Throughput:
    """What was measured of one phase of a recipe."""

    recipe: str
    phase: int
    batch: int
    lr_crop: int
    device: str
    precision: str
    threads: int
    """Of torch, on the CPU."""
    synthetic: float
    """Steps a second on one batch over and over."""
    real: float
    """Steps a second with the real pipeline."""
    operations: float
    """Of one step, a multiply-add counted as two; Fourier transforms are left out."""
    achieved: float
    """Operations a second."""
    matrix_product: float
    """The same of a large matrix product in this precision."""
    activations: int
    """Bytes that the backward pass of one step keeps."""
    peak_memory: int | None
    """Bytes on the GPU at most; None on a CPU."""
    made_at_once: int
    """Pairs degraded together."""
    making: Traffic
    """What these cost a device."""

    @property
    def crops_per_second(self) -> float:
        """High-resolution crops learned from in a second."""
        return self.batch * self.real


def made_pictures(side: int, count: int = 8) -> Corpus:
    """Smooth random pictures, for want of photographs; for speed their content makes no odds."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, side // 16 + 1, side // 16 + 1, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)
    pixels = fine.mul(255).byte().permute(0, 2, 3, 1).reshape(-1, 3)
    offsets = tuple(range(0, count * side * side, side * side))
    return Corpus(pixels, ((side, side),) * count, offsets, ("made",) * count, (), 0)


class Bench:
    """A recipe's phase, ready to be timed.

    Args:
        recipe: Any.
        phase: Which of its phases, from 0.
        corpus: To draw from.
        device: To compute on.
        half: In bfloat16 where that is safe.
        compiled: With `torch.compile`.
        captured: On a GPU, with a step's passes as one graph.
    """

    def __init__(
        self,
        recipe: Recipe,
        phase: int,
        corpus: Corpus,
        device: torch.device,
        *,
        half: bool,
        compiled: bool,
        captured: bool = True,
    ) -> None:
        self.recipe = recipe
        self.number = phase
        self.phase = recipe.phase[phase]
        self.device = device
        self.half = half
        processes = Processes(device)
        # What they look like makes no odds for speed.
        low = made_pictures(max(phase.lr_crop for phase in recipe.phase))
        model = degrader(recipe, low)
        network = build_network(recipe, model)
        objectives = Objectives(recipe, network, model, device)
        # Nothing can be counted in what is compiled or in a graph: see `run`.
        self.learner = Learner(network, recipe, objectives, processes, half=half, captured=False)
        self.compiled = compiled
        self.captured = captured
        self.learner.begin(self.phase)
        self.feeder = Feeder(corpus, model, recipe.data, recipe.seed, processes)
        self.feeder.begin(self.phase, self.learner.objective.truth)

    def run(self, seconds: float) -> Throughput:
        """Measure everything; two to three times ``seconds`` and a little more."""
        on_gpu = self.device.type == "cuda"
        pairs = self.feeder.next()
        self._learn(pairs)  # warms up
        operations = self._operations(pairs)
        activations = self._activations(pairs)
        self.learner.compiled = self.compiled
        self.learner.captured = self.captured and self.device.type == "cuda"
        self.learner.begin(self.phase)
        self._learn(pairs)  # compiles, records
        synthetic = self._rate(lambda: self._learn(pairs), seconds)
        if on_gpu:  # every size of picture is new once: its Fourier transform has to be planned
            self._rate(lambda: self._learn(self.feeder.next()), seconds)
        real = self._rate(lambda: self._learn(self.feeder.next()), seconds)
        return Throughput(
            recipe=self.recipe.name,
            phase=self.number,
            batch=self.phase.batch,
            lr_crop=self.phase.lr_crop,
            device=torch.cuda.get_device_name(self.device) if on_gpu else str(self.device),
            precision="bf16" if self.half else "fp32",
            threads=torch.get_num_threads(),
            synthetic=synthetic,
            real=real,
            operations=operations,
            achieved=operations * synthetic,
            matrix_product=self._matrix_product(seconds / 4),
            activations=activations,
            peak_memory=torch.cuda.max_memory_allocated(self.device) if on_gpu else None,
            made_at_once=self.phase.batch * self.recipe.data.batches,
            making=self._making(),
        )

    def profile(self, steps: int = 3) -> str:
        """A table of the operations that take most of the time."""
        activities = [torch.profiler.ProfilerActivity.CPU]
        if self.device.type == "cuda":
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        with torch.profiler.profile(activities=activities) as found:
            for _ in range(steps):
                self._learn(self.feeder.next())
            self._finish()
        key = f"self_{self.device.type}_time_total"
        return str(found.key_averages().table(sort_by=key, row_limit=15))

    def _learn(self, pairs: Pairs) -> None:
        self.learner.step(pairs, self.phase.learning_rate)

    def _finish(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _rate(self, work: Callable[[], Any], seconds: float) -> float:
        """Times a second; a second of the processor where one thread of it does everything."""
        alone = self.device.type == "cpu" and torch.get_num_threads() == 1
        clock = time.process_time if alone else time.perf_counter
        self._finish()
        began, done = clock(), 0
        looked, moment = 0, Moment(self.device)
        while clock() - began < seconds:
            # A GPU is waited for as in training.
            for _ in range(1 if self.device.type == "cpu" else LOG_EVERY):
                work()
                done += 1
                if done == looked + LATER:
                    moment.wait()
            looked, moment = done, Moment(self.device)
        self._finish()
        return done / (clock() - began)

    def _making(self) -> Traffic:
        """The mean of some draws: how much there is to do depends on their sizes."""
        large = SMALL * self.phase.batch * self.recipe.data.batches
        draws = [count(self.feeder.pool.make, large) for _ in range(DRAWS)]
        return Traffic(
            round(sum(draw.operations for draw in draws) / DRAWS),
            round(sum(draw.moved for draw in draws) / DRAWS),
        )

    def _operations(self, pairs: Pairs) -> float:
        with FlopCounterMode(display=False) as counter:
            self._learn(pairs)
        return float(counter.get_total_flops())

    def _activations(self, pairs: Pairs) -> int:
        """Bytes of everything that the passes forward save for those back, weights left out."""
        sizes: dict[int, int] = {}
        weights = {p.untyped_storage().data_ptr() for p in self.learner.network.parameters()}
        kept: list[Tensor] = []  # or the memory would be given out again, and counted once

        def save(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                sizes[storage.data_ptr()] = storage.nbytes()
                kept.append(tensor.detach())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
            self._learn(pairs)
        return sum(sizes.values())

    def _matrix_product(self, seconds: float) -> float:
        side = 8192 if self.device.type == "cuda" else 1536
        kind = torch.bfloat16 if self.half else torch.float32
        a, b = (torch.randn(side, side, device=self.device, dtype=kind) for _ in range(2))
        a @ b
        return 2 * side**3 * self._rate(lambda: a @ b, seconds)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m training.throughput", description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("--data", type=Path, action="append", help="else pictures are made")
    parser.add_argument("--set", action="append", default=[], dest="changes")
    parser.add_argument("--phase", type=int, default=-1, help="which phase, from 0; the last")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        *("--precision",),
        choices=("auto", "bf16", "fp32"),
        default="auto",
        help="auto: bf16 where the device computes in it, as sr-cli train",
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--no-capture", action="store_true", help="call kernels one by one")
    parser.add_argument("--profile", action="store_true", help="show where the time goes, too")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if not options.seconds > 0:
        parser.error("--seconds must be above 0")
    try:
        device = torch.device(options.device)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, ImportError):
        parser.error(f"the device '{options.device}' is not usable here")
    try:
        recipe = load_recipe(options.recipe, options.changes)
        whole = load_recipe(options.recipe)
        count = len(recipe.phase)
        if not -count <= options.phase < count:
            parser.error(f"{recipe.name} has the phases 0 to {count - 1}, not {options.phase}")
        phase = options.phase % count
        crop = recipe.crop(recipe.phase[phase])
        if options.data:
            corpus = read_corpus(options.data, crop, recipe.data.memory, recipe.data.shrunk)
        else:
            corpus = made_pictures(2 * crop)
        spare_threads(device)
        precision = options.precision
        if precision == "auto":
            precision = automatic_precision(device)
        bench = Bench(
            recipe,
            phase,
            corpus,
            device,
            half=precision == "bf16",
            compiled=options.compile,
            captured=not options.no_capture,
        )
    except (RecipeError, CorpusError, FeaturesError) as error:
        parser.error(str(error))
    found = bench.run(options.seconds)
    text = json.dumps(asdict(found)) if options.json else described(found, whole)
    sys.stdout.write(text + "\n")
    if options.profile:
        sys.stdout.write(bench.profile() + "\n")


def described(found: Throughput, whole: Recipe) -> str:
    """For people.

    Args:
        found: What was measured.
        whole: The recipe as it is written, of which the batch may have been cut down.
    """
    lines = [
        f"{found.recipe}, phase {found.phase + 1}: {found.batch} crops of {found.lr_crop}x"
        f"{found.lr_crop} on {found.device}, {found.precision}, {found.threads} threads",
        f"one batch over and over  {found.synthetic:.3g} steps/s",
        f"with the real pipeline   {found.real:.3g} steps/s, {found.real / found.synthetic:.0%}",
        f"operations               {found.operations / 1e12:.3g} T a step, "
        f"{found.achieved / 1e12:.3g} T/s",
        f"a matrix product         {found.matrix_product / 1e12:.3g} T/s, of which a step achieves "
        f"{found.achieved / found.matrix_product:.0%}",
        f"kept for the way back    {found.activations / 1e6:.4g} MB, "
        f"{found.activations / found.batch / 1e6:.3g} MB a crop",
    ]
    made = found.making
    lines.append(
        f"made pairs               {made.operations} operations, {made.moved / 1e9:.3g} GB for "
        f"{found.made_at_once} of them"
    )
    if found.peak_memory is not None:
        lines.append(f"memory of the device     {found.peak_memory / 1e9:.3g} GB at most")
    if len(whole.phase) == 1:
        phase = whole.phase[0]
        days = phase.steps * phase.batch / found.crops_per_second / 86_400
        memory = found.activations / found.batch * phase.batch / 1e9
        lines.append(
            f"the whole recipe         {phase.steps:,} steps of {phase.batch} crops: {days:.3g} "
            f"days at this rate, {memory:.3g} GB for one whole batch"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
