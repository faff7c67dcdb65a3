"""What `sr-cli evaluate` found, as the object that it prints."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sr_cli import __version__
from sr_cli.cli.evaluation_rounds import BICUBIC, Round, Settings

if TYPE_CHECKING:
    from sr_cli.metrics.evaluation import Findings
    from sr_cli.metrics.gains import ByPicture


def answer_of(
    one: Round, settings: Settings, findings: Findings, *, compare: bool
) -> dict[str, Any]:
    """What is printed of a round, as one JSON object."""
    from sr_cli.metrics import evaluation
    from sr_cli.metrics.published import compare as beside

    rows = findings.rows
    pictures = evaluation.by_picture(rows)
    means = evaluation.averages(rows)
    answer: dict[str, Any] = {
        "protocol": settings.protocol.name,
        "data": one.name,
        "data_sha256": evaluation.data_digest(one.jobs),
        "scale": one.benchmark.scale,
        "seed": settings.seed,
        "repeats": settings.repeats,
        "low_resolution": "made" if one.is_made else "given",
        "cases": findings.cases,
        "date": datetime.now(UTC).date().isoformat(),
        "version": __version__,
        "device": str(settings.device),
        "precision": settings.precision,
        **({"own_precisions": one.own_precisions} if one.own_precisions else {}),
        **({"weights": dict(one.digests)} if one.digests else {}),
        "border": one.benchmark.border,
        "luma": "rounded" if one.benchmark.rounded_luma else "not rounded",
        "methods": _finite(means),
        "gains": _gains(pictures),
        **({"left_out": left_out} if (left_out := evaluation.left_out(rows)) else {}),
        "skill": {
            method: {skill.key: _rounded(asdict(skill)) for skill in skills}
            for method, skills in findings.skills(one.layouts).items()
        },
    }
    conditions = evaluation.by_condition(rows)
    parts: dict[str, ByPicture] = {}
    if len(conditions) > 1:
        parts = {
            name: evaluation.by_picture(row for row in rows if row.condition == name)
            for name in conditions
        }
        answer["conditions"] = _finite(conditions)
        answer["condition_gains"] = {name: _gains(part) for name, part in parts.items()}
    networks = [method for method in means if method != BICUBIC]
    if len(networks) > 1:
        first = networks[0]
        answer["over_first"] = {
            "method": first,
            "gains": _gains(pictures, first),
            **(
                {"condition_gains": {name: _gains(part, first) for name, part in parts.items()}}
                if parts
                else {}
            ),
        }
    answer["by_condition"] = one.benchmark.by_condition and len(conditions) > 1
    answer["pictures"] = _finite(pictures, digits=4)
    answer["failed"] = one.failed
    if one.failed_by:
        answer["failed_by"] = one.failed_by
    if compare:
        answer["published"] = [
            {**asdict(entry), "difference": entry.difference} for entry in beside(answer)
        ]
    return answer


def _gains(pictures: ByPicture, over: str = BICUBIC) -> dict[str, Any]:
    """Of every network's method over another."""
    from sr_cli.metrics.gains import gain

    methods = dict.fromkeys(method for one in pictures.values() for method in one)
    found = {method: gain(pictures, method, over) for method in methods if method != BICUBIC}
    found.pop(over, None)
    return {method: {"psnr_y": asdict(one)} for method, one in found.items() if one}


def _finite(numbers: Any, digits: int | None = None) -> Any:
    """Without infinities, which JSON does not know: PSNR where all pictures equal the truth."""
    if isinstance(numbers, Mapping):
        return {key: _finite(value, digits) for key, value in numbers.items()}
    if not math.isfinite(numbers):
        return None
    return numbers if digits is None else round(numbers, digits)


def _rounded(skill: dict[str, Any]) -> dict[str, Any]:
    del skill["key"]
    return {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in skill.items()
        if value is not None
    }
