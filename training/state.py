"""The state of a whole run on the disk: what each process saves, and which state is gone on from.

stable/      the main process's states of the stable part
decay/       the same while and after the rate falls
others/N-stable/, others/N-decay/    what only process N knows
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from textwrap import shorten
from typing import Any

from training import checkpoint, record
from training.feeder import Feeder
from training.initial import TrainingError
from training.learner import Learner
from training.processes import Processes
from training.schedule import Position
from training.schema import Recipe


@dataclass
class Totals:
    """What a run adds up over all of its pieces."""

    seconds: float = 0.0
    psnr_y: float | None = None
    """Of the last validation."""
    best_psnr_y: float | None = None
    bicubic: float | None = None
    """What bicubic interpolation reaches on the pictures that both are of."""

    def on(self, bicubic: float) -> Totals:
        """The same, without what was measured on other pictures."""
        if self.bicubic is not None and math.isclose(self.bicubic, bicubic, rel_tol=1e-6):
            return self
        return Totals(self.seconds)

    def after(self, seconds: float) -> Totals:
        """The same, some time later."""
        return replace(self, seconds=self.seconds + seconds)


@dataclass(frozen=True)
class RunState:
    """Saves and restores a run, in every one of its processes."""

    recipe: Recipe
    out: Path
    processes: Processes
    learner: Learner
    feeder: Feeder

    def save(self, position: Position, totals: Totals) -> None:
        """Write everything the run needs to go on to the step, atomically.

        Raises:
            TrainingError: It could not be written; the last state is whole.
        """
        kind = "decay" if position.decaying else "stable"
        try:
            if self.processes.main:
                checkpoint.write(self.out / kind, position.step, self._of(position, totals))
            else:
                feeder = {"feeder": self.feeder.state()}
                checkpoint.write(self._other(kind), position.step, feeder)
        except checkpoint.CheckpointError as error:
            raise TrainingError(f"{error} {self._left()}") from None
        finally:
            self.processes.wait()

    def _left(self) -> str:
        """Which state there is, as a sentence."""
        for kind in ("decay", "stable"):
            if last := checkpoint.latest(self.out / kind):
                return f"The state of step {int(last.name)} is whole."
        return "There is none yet."

    def _other(self, kind: str) -> Path:
        return self.out / "others" / f"{self.processes.index}-{kind}"

    def _of(self, position: Position, totals: Totals) -> dict[str, Any]:
        place = {key: value for key, value in vars(position).items() if key != "recipe"}
        return {
            "recipe": self.recipe.name,
            "stable_steps": self.recipe.stable_steps,
            "processes": self.processes.count,
            "position": place,
            "totals": asdict(totals),
            "learner": self.learner.state(),
            "feeder": self.feeder.state(),
        }

    def load(self, begin: Callable[[Position], None]) -> tuple[Position, Totals] | None:
        """Go on from the run's folder.

        Args:
            begin: Turns learner and feeder to the phase of a position, before they are filled.

        Returns:
            Where the run is, or None if there is nothing to go on from.

        Raises:
            TrainingError: The state is another recipe's, or cannot be read.
        """
        return self._load("decay", begin) or self._load("stable", begin)

    def _load(self, kind: str, begin: Callable[[Position], None]) -> tuple[Position, Totals] | None:
        path = checkpoint.latest(self.out / kind)
        if path is None:
            return None
        try:
            state = checkpoint.read(path)
        except checkpoint.CheckpointError as error:
            before = checkpoint.latest(self.out / "stable") if kind == "decay" else None
            way = f". Remove {path} to go on from {before}" if before else ""
            raise TrainingError(f"{error}{way}.") from None
        if state.get("recipe") != self.recipe.name:
            raise TrainingError(
                f"{path} belongs to the recipe '{state.get('recipe')}', not '{self.recipe.name}'. "
                "Choose another --out folder."
            )
        try:
            if kind == "decay" and self._more_to_do_before(state):
                return None
            position = Position(self.recipe, **state["position"])
            begin(position)
            self.learner.load(state["learner"])
            self._load_feeder(state, kind, position.step)
            return position, Totals(**state["totals"])
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise TrainingError(
                f"{path} does not fit the recipe as it is now: {self._why(error)}. Undo the "
                "change, or choose another --out folder."
            ) from None

    def _why(self, error: Exception) -> str:
        """What has been changed in the recipe's network; else what torch says."""
        found = [one for one in record.changes(self.out, self.recipe) if one.startswith("network")]
        return "; ".join(found) or shorten(" ".join(str(error).split()), 200, placeholder=" ...")

    def _load_feeder(self, state: dict[str, Any], kind: str, step: int) -> None:
        feeder, own = state["feeder"], state["processes"] == self.processes.count
        if own and not self.processes.main:
            mine = checkpoint.latest(self._other(kind))
            own = mine is not None and int(mine.name) == step
            try:
                feeder = checkpoint.read(mine)["feeder"] if mine and own else feeder
            except (checkpoint.CheckpointError, LookupError):  # as if it had never been saved
                own = False
        # All or none: who fills a pool draws more than who has one, and draws are to be alike.
        own = not self.processes.any(not own)
        self.feeder.load(feeder, step, own=own)

    def _more_to_do_before(self, decay: dict[str, Any]) -> bool:
        """Whether a decay gives way to its stable part, which then branches off again, later.

        That is so when the recipe has been lengthened, or when the decay is done and had begun
        early, within a time budget.
        """
        stable, position = self.recipe.stable_steps, decay["position"]
        done = position["phase_step"] >= self.recipe.decay_steps
        return stable > decay["stable_steps"] or (done and position["branched_at"] < stable)


def any_saved(out: Path) -> bool:
    """Whether a run's folder holds a state, be it of the decay alone (the disk was full before)."""
    return any(checkpoint.latest(out / kind) for kind in ("stable", "decay"))
