"""A training session as the command line runs it: read, resume, train, say how it ended."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch

from training.corpus import Corpus, read_corpus
from training.recipe import Recipe
from training.trainer import Progress, Trainer, TrainingError


def run_session(
    recipe: Recipe,
    data: Sequence[Path],
    val: Path | None,
    out: Path,
    device: torch.device,
    *,
    half: bool,
    resume: bool,
    weights: Path | None = None,
    time_budget: float = math.inf,
    tell: Callable[[str], None],
    bar: Callable[[float, float], None],
) -> str:
    """Train and return a sentence on how it ended.

    Args:
        recipe: What to do.
        data: Folders of photographs.
        val: Folder of held-out photographs, or None.
        out: The run's folder.
        device: To train on.
        half: Whether to compute in bfloat16 where that is safe.
        resume: Go on from the folder's state.
        weights: A safetensors file to start from instead of fresh weights.
        time_budget: Seconds.
        tell: Takes lines for people.
        bar: Takes steps done and in all.

    Raises:
        CorpusError: The folders hold too little.
        TrainingError: The run cannot start or go on.
    """
    crop = max(phase.lr_crop for phase in recipe.phase) * recipe.network.scale
    corpus = read_corpus(data, crop)
    held_out = read_corpus([val], recipe.validation.crop) if val else None
    tell(
        _described("training", corpus)
        + ("; " + _described("validation", held_out) if held_out else "")
    )
    if (out / "state.pt").exists() and not resume:
        raise TrainingError(f"{out} holds a run already. Add --resume to go on, or choose --out.")
    trainer = Trainer(recipe, corpus, held_out, out, device, half=half, weights=weights)
    if resume:
        found = trainer.resume()
        tell(f"resumed at step {trainer.step}" if found else f"nothing to resume in {out}")

    def watch(progress: Progress) -> None:
        bar(progress.step, progress.steps)
        tell(_line(progress))

    with _stopping_cleanly(trainer):
        finished = trainer.run(time_budget, watch)
    if finished:
        return f"finished: {out / 'ema.safetensors'} holds the weights after {trainer.step} steps"
    return f"stopped at step {trainer.step} of {trainer.total_steps}; --resume goes on"


@contextmanager
def _stopping_cleanly(trainer: Trainer) -> Iterator[None]:
    """A first interrupt ends the step, saves and leaves; a second leaves at once."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, frame: FrameType | None) -> None:
        trainer.stopping = True
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _described(what: str, corpus: Corpus) -> str:
    left_out = corpus.unreadable + corpus.too_small
    extra = f", {left_out} left out" if left_out else ""
    return f"{what}: {len(corpus.pictures)} pictures, {corpus.megapixels:.1f} megapixels{extra}"


def _line(progress: Progress) -> str:
    quality = ""
    if progress.psnr_y is not None and progress.bicubic is not None:
        quality = f", {progress.psnr_y - progress.bicubic:+.2f} dB over bicubic"
    return (
        f"step {progress.step}/{progress.steps} {progress.phase}: loss {progress.loss:.4f}, "
        f"rate {progress.rate:.1e}, {progress.steps_per_second:.1f} steps/s, "
        f"waiting {progress.wait:.0%}{quality}"
    )
