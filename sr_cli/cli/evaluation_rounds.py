"""What `sr-cli evaluate` has to do: rounds of one data set at one scale each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sr_cli.cli import console

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from sr_cli.degradation.layout import Layout
    from sr_cli.inference.engine import Engine
    from sr_cli.inference.errors import InferenceError
    from sr_cli.metrics.evaluation import Findings, Job, Measures, Restore, Row
    from sr_cli.metrics.protocols import Benchmark, Case, Protocol
    from sr_cli.networks.stages import SuperResolver
    from sr_cli.opening import OpenModel
    from sr_cli.zoo.loading import LoadedModel

    Model = LoadedModel | OpenModel
    """Weights, or an ONNX file."""

BICUBIC = "bicubic"
TOLD_UNDER = ("real", "real-published", "real-cropped", "aniso")
"""Protocols whose cases come with the vector that a DAN estimates."""


@dataclass(frozen=True)
class Settings:
    """What was asked for, beside models and data."""

    protocol: Protocol
    seed: int
    repeats: int
    lr: Path | None
    measures: Measures
    estimate_only: bool
    save_images: Path | None
    device: torch.device
    precision: Literal["fp32", "fp16", "bf16"]
    tta: bool = False
    device_name: str = "auto"
    """What was asked for, of which ONNX Runtime may make something else than torch's `device`."""


@dataclass
class Round:
    """One data set at one scale: a table."""

    data: Path
    name: str
    """Of the data: its folder's, with those above it as far as others share it."""
    benchmark: Benchmark
    jobs: list[Job]
    methods: dict[str, Restore]
    layouts: dict[str, Layout | None]
    own_precisions: Mapping[str, str]
    """What methods compute in that do not take what was asked for: ONNX files."""
    digests: Mapping[str, str]
    """By method, of which weights it is, where it is a network as it is."""
    rows: list[Row] = field(default_factory=list)
    """Of what has been measured so far, in means or not.  Where a method failed on a case, its row
    has no figures."""
    failed: list[str] = field(default_factory=list)
    """Pictures that could not be measured, or not by every method."""
    failed_by: dict[str, list[str]] = field(default_factory=dict)
    """The latter's, by the methods that failed on them."""
    place: Path = Path()
    """Where pictures are saved, below the folder that was named for them."""

    @cached_property
    def saved_as(self) -> dict[str, str]:
        """What a picture's results are called, without an ending."""
        return _short_names((job.name for job in self.jobs), lambda name: Path(name).stem)

    @cached_property
    def folders(self) -> dict[str, str]:
        """Where a method's results are saved; "input" is no method's."""
        return _short_names(("input", *self.methods), _folder_of)

    @property
    def is_made(self) -> bool:
        """Whether low-resolution pictures are made, and not those of a data set or of ``--lr``."""
        return any(job.is_made for job in self.jobs)

    @property
    def steps(self) -> int:
        """How often a method has to work."""
        return len(self.jobs) * len(self.methods)


def times(scales: Iterable[int]) -> str:
    return ", ".join(f"x{scale}" for scale in scales)


def plan(
    settings: Settings,
    data: list[Path],
    names: list[str],
    scales: list[int],
    turns: tuple[int, ...],
    *,
    truth: bool,
) -> list[Round]:
    """Everything that has to be done, with models loaded and files found, but none read."""
    from sr_cli.opening import OpenModel

    models = _models([name for name in dict.fromkeys(names) if name != BICUBIC], settings, scales)
    if not models and settings.estimate_only:
        raise console.CommandError("Bicubic interpolation estimates nothing: name a model.")
    for one in models:
        if settings.estimate_only and one.layout is None:
            raise console.CommandError(
                f"{one.name} does not estimate how a picture was degraded, so there is nothing to "
                "measure with --estimate-only."
            )
    wanted = scales or sorted({one.scale for one in models}) or list(settings.protocol.scales)
    rounds: list[Round] = []
    called = _distinct_names(data)
    for folder in data:
        if settings.lr and not (models or scales):
            wanted = _fitting(settings.lr, folder, settings.protocol.scales)
        before = len(rounds)
        problem: Exception | None = None
        for scale in wanted:
            there = [one for one in models if one.scale == scale]
            methods, layouts = _methods(there, scale, settings, turns, truth=truth)
            digests = {one.name: one.digest for one in there if not isinstance(one, OpenModel)}
            precisions = {m.name: m.engine.precision for m in there if isinstance(m, OpenModel)}
            benchmark = settings.protocol.at(scale)
            try:
                jobs = _jobs(benchmark, folder, settings)
            except FileNotFoundError as error:
                problem = error
                continue
            rounds.append(
                Round(
                    folder, called[folder], benchmark, jobs, methods, layouts, precisions, digests
                )
            )
        # Bicubic alone takes the scales that a ready data set has.
        if problem and (models or scales or len(rounds) == before):
            raise console.CommandError(str(problem))
    return rounds


def _distinct_names(folders: Iterable[Path]) -> dict[Path, str]:
    """The end of each folder's path, as long as it takes to tell it from the others."""
    parts = {folder: folder.resolve().parts for folder in folders}
    names: dict[Path, str] = {}
    for folder, own in parts.items():
        others = {other for other in parts.values() if other != own}
        longest = range(1, len(own) + 1)
        length = next((n for n in longest if all(own[-n:] != o[-n:] for o in others)), len(own))
        names[folder] = "/".join(own[-length:]).lstrip("/")
    return names


def _fitting(lr: Path, folder: Path, scales: Sequence[int]) -> list[int]:
    """The scales that lead from a folder's first low-resolution picture to its truth, or all."""
    from sr_cli.images import size
    from sr_cli.metrics.pairs import PairError, match

    try:
        first = match(lr, folder)[0]
    except (PairError, FileNotFoundError):
        return list(scales)  # of which `_jobs` will say more
    small, large = size(first.lr), size(first.hr)
    if not (small and large):
        return list(scales)
    return [s for s in scales if [side // s for side in large] == [*small]] or list(scales)


def _jobs(benchmark: Benchmark, folder: Path, settings: Settings) -> list[Job]:
    from sr_cli.metrics.evaluation import jobs
    from sr_cli.metrics.pairs import PairError

    try:
        return jobs(benchmark, folder, settings.seed, settings.repeats, settings.lr)
    except PairError as error:
        raise console.CommandError(str(error)) from None


def _models(names: list[str], settings: Settings, scales: list[int]) -> list[Model]:
    protocol = settings.protocol
    models = [_model(name, settings) for name in names]
    for one in models:
        if one.scale not in protocol.scales:
            raise console.CommandError(
                f"{one.name} enlarges x{one.scale}, but the protocol {protocol.name} is for "
                f"{times(protocol.scales)}."
            )
        if one.layout is not None and one.layout.name == "blur" and protocol.more_than_blur:
            console.note(
                f"{one.name} is for pictures that are blurred and nothing else: --protocol aniso"
            )
        if scales and one.scale not in scales:
            raise console.CommandError(
                f"{one.name} enlarges x{one.scale}: leave --scale out, or name another model."
            )
    return models


def _model(name: str, settings: Settings) -> Model:
    from sr_cli.opening import names_onnx_file, open_model
    from sr_cli.zoo.loading import load

    return open_model(name, settings.device_name) if names_onnx_file(name) else load(name)


def _methods(
    models: list[Model],
    scale: int,
    settings: Settings,
    turns: tuple[int, ...],
    *,
    truth: bool,
) -> tuple[dict[str, Restore], dict[str, Layout | None]]:
    """What is compared at one scale, and what the numbers of each method's vector are."""
    from sr_cli.metrics.evaluation import bicubic

    methods: dict[str, Restore] = {} if settings.estimate_only else {BICUBIC: bicubic(scale)}
    layouts: dict[str, Layout | None] = {}
    for one in models:
        engines = {f"{one.name} T={n}": _turned(one, n, settings) for n in turns}
        for name, engine in (engines or {one.name: _engine(one, settings)}).items():
            methods[name] = _restore(engine, settings)
            layouts[name] = one.layout
            if settings.tta and not settings.estimate_only:
                methods[f"{name} tta"] = _restore(engine, settings, orientations=8)
                layouts[f"{name} tta"] = one.layout
        if truth:
            methods[f"{one.name} nothing given"] = _told(one, settings, truth=False)
            methods[f"{one.name} truth given"] = _told(one, settings, truth=True)
    return methods, layouts


def _engine(model: Model, settings: Settings) -> Engine:
    from sr_cli.opening import OpenModel

    if isinstance(model, OpenModel):
        return model.engine
    return _running(model.network, settings, model.name)


def _running(network: SuperResolver, settings: Settings, name: str) -> Engine:
    from sr_cli.inference.torch_backend import torch_engine

    return torch_engine(network, settings.device, settings.precision, name)


def _weights(model: Model) -> LoadedModel:
    """A model whose network can be run in other ways than its own."""
    from sr_cli.opening import OpenModel

    if isinstance(model, OpenModel):
        raise console.CommandError(
            f"{model.name} is an ONNX file, which runs in one way only: for --iterations and "
            "--truth name the weights that it was made of."
        )
    return model


def _turned(model: Model, iterations: int, settings: Settings) -> Engine:
    from sr_cli.networks.variants import with_iterations

    try:
        network = with_iterations(_weights(model).network, iterations)
    except TypeError:
        raise console.CommandError(
            f"{model.name} does not alternate, so it has no number of iterations."
        ) from None
    return _running(network, settings, model.name)


def _told(model: Model, settings: Settings, *, truth: bool) -> Restore:
    """A DAN that is given the truth, or nothing, in place of an estimate."""
    from sr_cli.networks.dan import DAN
    from sr_cli.networks.variants import Told

    dan = _weights(model).network
    if not isinstance(dan, DAN) or settings.protocol.name not in TOLD_UNDER:
        names = ", ".join(TOLD_UNDER[:-1]) + " and " + TOLD_UNDER[-1]
        raise console.CommandError(f"The truth can be given to a DAN under the protocols {names}.")
    network = Told(dan)
    restore = _restore(_running(network, settings, model.name), settings)

    def told(case: Case) -> tuple[Tensor, Tensor | None]:
        if case.vector is None or len(case.vector) != network.vector.numel():
            raise console.CommandError(
                f"The truth of {case.name} is not of the kind that {model.name} estimates."
            )
        if truth:
            network.tell(case.vector)
        return restore(case)[0], None

    return told


def _restore(engine: Engine, settings: Settings, *, orientations: int = 1) -> Restore:
    import torch

    def restore(case: Case) -> tuple[Tensor, Tensor | None]:
        rgb = case.lr.permute(1, 2, 0).contiguous().numpy()
        if settings.estimate_only:
            picture, vector = case.lr, engine.estimate(rgb)
        else:
            result = engine.upscale(rgb, orientations=orientations)
            picture, vector = torch.from_numpy(result.rgb).permute(2, 0, 1), result.vector
        return picture, None if vector is None else torch.from_numpy(vector)

    return restore


def run(
    one: Round,
    settings: Settings,
    progress: Callable[[int], None],
    told: set[tuple[Path, str]],
) -> Findings:
    """All cases of a round, one at a time; those that fail are named and left out.

    A case that one method fails on is in no method's means, or they would be of different cases.  A
    method that fails on every case has none, and the others do not wait for it.

    Args:
        one: What to do; it keeps what has been measured, also where something ends the work.
        settings: How.
        progress: Called with how often a method has worked.
        told: Data sets and what was said of their pictures, to which this round adds: one that is
            read for many conditions and scales is named once.
    """
    from sr_cli.images import PictureError
    from sr_cli.metrics.evaluation import CaseError

    def complain(message: str) -> None:
        if (one.data, message) not in told:
            console.complain(message)
        told.add((one.data, message))

    tried: list[_Tried] = []
    for number, job in enumerate(one.jobs):
        first = number * len(one.methods)
        try:
            case = job.make()
            for note in case.notes:
                if (one.data, note) not in told:
                    console.note(note)
                told.add((one.data, note))
            found = _measured(case, one, settings, partial(_step, progress, [first]))
            tried.append(found)
            one.rows += found.rows
            for method, error in found.failures.items():
                complain(_of_model(error, method, case.name))
                _add(job.name, one.failed_by.setdefault(method, []))
                _add(job.name, one.failed)
        except (CaseError, PictureError) as error:
            complain(str(error) if isinstance(error, CaseError) else f"{job.name}: {error}")
            _add(job.name, one.failed)
        progress(first + len(one.methods))
    return _findings(tried, one.methods)


def _add(name: str, names: list[str]) -> None:
    """Once, whatever the conditions."""
    if name not in names:
        names.append(name)


def _of_model(error: InferenceError, method: str, picture: str) -> str:
    """A model's failure on a picture, as a sentence that names both."""
    return f"{picture}: {error}" if method in str(error) else f"{picture}, {method}: {error}"


@dataclass(frozen=True)
class _Tried:
    """What became of one case."""

    case: Case
    """Without its pictures, which are large."""
    rows: list[Row]
    vectors: dict[str, Tensor]
    failures: Mapping[str, InferenceError]
    """By method."""


def _findings(tried: list[_Tried], methods: Iterable[str]) -> Findings:
    """The cases that all methods can be compared on, but for methods that failed on every one."""
    from sr_cli.metrics.evaluation import Findings

    findings = Findings()
    able = {name for name in methods if any(name not in one.failures for one in tried)}
    for one in tried:
        if able and able.isdisjoint(one.failures):
            rows = [row for row in one.rows if row.method in able]
            findings.add(one.case, rows, one.vectors)
    return findings


def _step(progress: Callable[[int], None], done: list[int]) -> None:
    done[0] += 1
    progress(done[0])


def _measured(case: Case, one: Round, settings: Settings, step: Callable[[], None]) -> _Tried:
    """What every method reached on a case, or why it did not."""
    import torch

    from sr_cli.inference.errors import InferenceError
    from sr_cli.metrics.evaluation import Row

    keep = _keeping(case, one, settings.save_images) if settings.save_images else None
    rows: list[Row] = []
    vectors: dict[str, Tensor] = {}
    failures: dict[str, InferenceError] = {}
    for name, method in one.methods.items():
        try:
            found, estimates = _reached(case, name, method, one, settings, keep)
        except InferenceError as error:
            failures[name] = error
            found, estimates = [Row(name, case.name, case.condition, case.repeat, {})], {}
        rows += [] if settings.estimate_only else found
        vectors |= estimates
        step()
    nothing = torch.empty(3, 0, 0)
    return _Tried(replace(case, lr=nothing, hr=None), rows, vectors, failures)


def _reached(
    case: Case,
    name: str,
    method: Restore,
    one: Round,
    settings: Settings,
    keep: Callable[[str, Tensor], None] | None,
) -> tuple[list[Row], dict[str, Tensor]]:
    """By one method: its row, unless only estimates are wanted, and its estimate, if it has one."""
    from sr_cli.metrics.evaluation import measure

    if settings.estimate_only:
        vector = method(case)[1]
        return [], {} if vector is None else {name: vector}
    return measure(case, {name: method}, one.benchmark, settings.measures, one.layouts, keep)


def _keeping(case: Case, one: Round, saved: Path) -> Callable[[str, Tensor], None]:
    """Saves a method's picture of a case, and before all of them what they are made of."""
    name = f"{one.saved_as[case.name]}{_tag(case.condition)}{_turn(case.repeat)}.png"
    keep = partial(_save, saved / one.place, name, one.folders)
    keep("input", case.lr)
    return keep


def _tag(condition: str) -> str:
    words = re.findall(r"[\w.]+", condition)
    return "_" + "_".join(words) if words else ""


def _turn(repeat: int) -> str:
    """The second of several degradations is ``_2``."""
    return f"_{repeat + 1}" if repeat else ""


def _save(
    folder: Path, file: str, folders: Mapping[str, str], method: str, picture: Tensor
) -> None:
    from sr_cli.images import Picture, write

    place = folder / folders[method]
    place.mkdir(parents=True, exist_ok=True)
    rgb = picture.clamp(0, 1).permute(1, 2, 0).contiguous().numpy()
    write(Picture(rgb), place / file)


def _short_names(names: Iterable[str], short: Callable[[str], str]) -> dict[str, str]:
    """A file name for every name: a short one if it is the only one of that, else a whole one."""
    names = list(dict.fromkeys(names))
    count = Counter(short(name).casefold() for name in names)
    alone = {name: short(name) for name in names if count[short(name).casefold()] == 1}
    taken = {name.casefold() for name in alone.values()}
    for name in names:
        if name in alone:
            continue
        whole = longer = re.sub(r"[/\\:.]+", "_", name).strip("_")
        number = 1
        while longer.casefold() in taken:
            longer, number = f"{whole}_{number}", number + 1
        alone[name] = longer
        taken.add(longer.casefold())
    return alone


def _folder_of(method: str) -> str:
    """Of a model's results: its name, or that of its file without the ending."""
    is_file = method.endswith((".safetensors", ".pth", ".onnx"))
    return Path(method).stem if is_file else Path(method).name
