"""A training session as the command line runs it: read, resume, train, say how it ended."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType

import torch

from sr_cli.inference.errors import out_of_memory
from sr_cli.temporary import claimed
from sr_cli.zoo.card import CARD_NAME
from training import record
from training.corpus import Corpus, in_both, read_corpus
from training.held_out import HeldOut, paired
from training.initial import kept_start
from training.packing import CURVES, ENTRY, WEIGHTS, device_name, pack
from training.packing import FOLDER as RELEASE
from training.schema import Recipe
from training.state import any_saved
from training.trainer import Options, Progress, Trainer, TrainingError

HOST_THREADS = 4
"""Of torch on the processor, beside a GPU."""


_TOO_LARGE = (
    "There is not enough memory for a step. Smaller batches need less (--set phase.0.batch=N, and "
    "so on for later phases), and so does the same batch in parts (--set phase.0.accumulate=2). "
    "What was saved stays: --resume goes on from it."
)


def run_session(
    recipe: Recipe,
    data: Sequence[Path],
    val: Path | None,
    out: Path,
    device: torch.device,
    *,
    options: Options,
    resume: bool,
    tell: Callable[[str], None],
    bar: Callable[[float, float], None],
    low: Sequence[Path] = (),
) -> str:
    """Train and return a sentence on how it ended.

    Args:
        recipe: What to do.
        data: Folders of photographs.
        val: Folder of held-out photographs, or of pairs where the degradation is learned; or None.
        out: The run's folder.
        device: To train on.
        options: How to run.
        resume: Go on from the folder's state.
        tell: Takes lines for people.
        bar: Takes steps done and in all.
        low: Folders of low-quality pictures, where the degradation is learned from them.

    Raises:
        CorpusError: The folders hold too little.
        TrainingError: The run cannot start or go on.
    """
    spare_threads(device)
    crop = max(recipe.crop(phase) for phase in recipe.phase)
    if any_saved(out) and not resume:
        raise TrainingError(f"{out} holds a run already. Add --resume to go on, or choose --out.")
    corpus = read_corpus(data, crop, recipe.data.memory, recipe.data.shrunk)
    bad: Corpus | None = None
    held_out: Corpus | HeldOut | None = None
    scale = recipe.network.scale
    if recipe.data.degradation == "learned":
        side = max(phase.lr_crop for phase in recipe.phase)
        bad = read_corpus(low, side, recipe.data.memory)
        held_out = paired(val, scale, recipe.validation) if val else None
    elif val:
        held_out = read_corpus([val], recipe.validation.side(scale))
    trainer = Trainer(recipe, corpus, held_out, out, device, options, bad)
    if not trainer.processes.main:
        tell, bar = _silent, _silent
    said = [_described("training", corpus)]
    if bad is not None:
        said.append(_described("low quality", bad))
    if isinstance(held_out, Corpus):
        said.append(_described("validation", held_out))
    elif held_out is not None:
        said.append(f"validation: {len(held_out.lr)} pairs")
    tell("; ".join(said))
    if val and isinstance(held_out, Corpus) and (twice := in_both(data, [val])):
        tell(
            f"{twice} of the validation's pictures are trained on as well: what is measured on "
            "them says little of others"
        )
    with _alone(out) if trainer.processes.main else nullcontext():
        return _trained(trainer, tell, bar, resume=resume)


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold a run's folder, so that no other run mixes with it.

    Raises:
        TrainingError: Another process holds it, or it cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"Cannot write to {out}: {error.strerror}.") from None
    with claimed(out) as ours:
        if not ours:
            raise TrainingError(
                f"Another process is training in {out}. Wait for it, or choose another --out."
            )
        yield


def _trained(
    trainer: Trainer,
    tell: Callable[[str], None],
    bar: Callable[[float, float], None],
    *,
    resume: bool,
) -> str:
    """Train in a folder that nobody else trains in; see `run_session`."""
    out = trainer.out
    for note in trainer.notes:
        tell(note)
    found = False
    if resume:
        found = trainer.resume()
        if not found and trainer.options.weights is None and (start := kept_start(out)):
            raise TrainingError(
                f"The run in {out} went on from the weights {start['start']} and ended before its "
                "first state was saved. Name them again with --weights."
            )
        tell(f"resumed at step {trainer.step}" if found else f"nothing to resume in {out}")
        if found:
            for change in record.changes(out, trainer.recipe):
                tell(f"the recipe has changed: {change}")
            if trainer.options.weights is not None:
                tell("--weights is not used: the run goes on from its own state")
    if trainer.recipe.start.after and trainer.options.weights is None and not found:
        tell(
            f"this recipe is meant to go on from the weights of {trainer.recipe.start.after} "
            "(--weights FILE); it starts from fresh ones"
        )

    if trainer.processes.main:
        try:
            record.write(out, trainer.recipe)
        except OSError as error:
            tell(f"{out / record.RECORD} could not be written: {error.strerror}")

    def watch(progress: Progress) -> None:
        tell(_line(progress))

    try:
        with _stopping_cleanly(trainer):
            finished = trainer.run(watch, tell, bar)
    except Exception as error:
        if out_of_memory(error):
            raise TrainingError(_TOO_LARGE) from error
        raise
    if not trainer.processes.main:
        return ""
    if finished:
        try:
            for sentence in pack(out, trainer.recipe, device_name(trainer.processes.device)):
                tell(sentence)
        except OSError as error:
            raise TrainingError(
                f"{out / RELEASE} could not be written: {error.strerror}. "
                f"{out / WEIGHTS} holds the weights; python -m training.packing {out} tries again."
            ) from None
        parts = {CARD_NAME: "model card", ENTRY: "manifest entry", CURVES: "curves"}
        there = [what for name, what in parts.items() if (out / RELEASE / name).exists()]
        beside = " and ".join(part for part in (", ".join(there[:-1]), *there[-1:]) if part)
        with_them = f" with their {beside}" if beside else ""
        return f"finished after {trainer.step} steps: {out / RELEASE} holds the weights{with_them}"
    steps = f"step {trainer.step} of {trainer.total_steps}"
    return f"stopped at {steps}{_unfinished(trainer)}; --resume goes on"


def _unfinished(trainer: Trainer) -> str:
    """In brackets, why there is no release though one was asked for; "" if somebody stopped it."""
    asked, last = trainer.options.finish and not trainer.stopping, trainer.options.last_step
    if not asked or (last is not None and trainer.step >= last):
        return ""
    if trainer.position.decaying:
        return " (the budget ended within the decay)"
    if trainer.position.phase.trains != "all":
        return " (the budget ended before a phase that a decay could follow)"
    steps = trainer.recipe.decay_steps
    return f" (the decay's {steps} steps did not fit into what was left of the budget)"


def spare_threads(device: torch.device) -> None:
    """Beside a GPU, leave most of the processor's cores alone.

    What is left to the processor is a few hundred numbers at a time.  Threads that wait for each
    other over them stand still as soon as another process wants their cores.
    """
    if device.type != "cpu":
        torch.set_num_threads(min(torch.get_num_threads(), HOST_THREADS))


def _silent(*_: object) -> None:
    """One process of many speaks."""


@contextmanager
def _stopping_cleanly(trainer: Trainer) -> Iterator[None]:
    """A first interrupt ends the step, saves and leaves; a second leaves at once."""
    # A closed terminal, too; what whoever started this process ignores stays ignored.
    numbers = {signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}
    handlers = {number: signal.getsignal(number) for number in numbers}
    before = {n: handler for n, handler in handlers.items() if handler is not signal.SIG_IGN}

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
    reasons = {
        f"unreadable ({listed(corpus.spoiled)})": corpus.unreadable,
        "too small": corpus.too_small,
        "of kinds that are not read": corpus.others,
    }
    left_out = [f"{count} {why}" for why, count in reasons.items() if count]
    extra = f" ({', '.join(left_out)} left out)" if left_out else ""
    where = ", mapped from disk" if corpus.mapped else ""
    sizes = len(set(corpus.sizes))
    count = f"{corpus.files} pictures" + (f" at {sizes} sizes" if sizes > 1 else "")
    return f"{what}: {count}, {corpus.megapixels:.1f} megapixels{where}{extra}"


def listed(names: Sequence[str], most: int = 3) -> str:
    """Names, the first few of many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _line(progress: Progress) -> str:
    quality = ""
    if progress.psnr_y is not None and progress.bicubic is not None:
        quality = f", {progress.psnr_y - progress.bicubic:+.2f} dB over bicubic"
    terms = ", ".join(f"{name} {value:.4f}" for name, value in progress.terms.items())
    return (
        f"step {progress.step}/{progress.steps} {progress.phase}: {terms}, "
        f"rate {progress.rate:.1e}, {progress.steps_per_second:.1f} steps/s, "
        f"waiting for data {progress.wait:.0%}{quality}"
    )
