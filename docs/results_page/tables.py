"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from results_page.stored import Answer, Run, find
from sr_cli.degradation.explain import is_known
from sr_cli.metrics.figures import FIGURES, formatted
from sr_cli.metrics.gains import Gain, differences, gain
from sr_cli.metrics.published import Published, compare, published
from sr_cli.zoo.manifest import Model
from training.curves import LABELS


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table whose rows have a cell a column."""
    lines = [_line(columns), "|" + "---|" * len(columns)]
    return "\n".join([*lines, *map(_line, rows)])


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def zoo(models: Iterable[Model], runs: tuple[Run, ...]) -> str:
    """Every model of the manifest: ours, bicubic and the paper."""
    rows = []
    for model in models:
        entries = _paper(model.name)
        paper = "; ".join(dict.fromkeys(f"{e.data}{_at(e)} {_pair(e.values)}" for e in entries))
        sources = ", ".join(dict.fromkeys(e.source for e in entries))
        figures = model.figures if model.weights else ()
        if not figures:
            protocol = entries[0].protocol if entries else ""
            rows.append((model.name, protocol, "", "no weights yet", "", "", paper, sources))
        for figure in figures:
            answer = find(runs, model.name, figure)
            methods: Mapping[str, Any] = answer["methods"] if answer else {}
            gained = gain(answer["pictures"], model.name) if answer else None
            rows.append(
                (
                    model.name,
                    figure["protocol"],
                    figure["data"],
                    _pair(methods.get(model.name, {})),
                    _pair(methods.get("bicubic", {})),
                    gained or "",
                    paper,
                    sources,
                )
            )
    columns = ("model", "protocol", "data", "ours", "bicubic", "gain, dB", "paper", "source")
    return table(columns, rows)


def _paper(model: str) -> list[Published]:
    """A model's figures that are shown in a line: the first data set of its papers."""
    entries = [e for e in published() if e.model == model and _pair(e.values)]
    return [e for e in entries if e.data == entries[0].data][:1]


def _at(entry: Published) -> str:
    return f" {entry.condition}" if entry.condition else ""


def _pair(values: Mapping[str, float | None]) -> str:
    """``PSNR / SSIM``, on luma where there is any."""
    for channel in ("y", "rgb"):
        if f"psnr_{channel}" in values:
            shown = [formatted(k, values.get(k)) for k in (f"psnr_{channel}", f"ssim_{channel}")]
            return " / ".join(shown) + (" (RGB)" if channel == "rgb" else "")
    return ""


def quality(answers: Sequence[Answer]) -> str:
    """Evaluations of one protocol, with bicubic beside the models."""
    cells = [(a, name, c, m) for a in answers for name, c, m in _methods(a)]
    gained = any(_gain(answer, condition, name) for answer, name, condition, _ in cells)
    keys = [key for key in FIGURES if any(key in means for *_, means in cells)]
    conditions = any(condition for _, _, condition, _ in cells)
    columns = ["data", "scale", *(["condition"] if conditions else []), "cases", "method"]
    rows = [
        (
            answer["data"],
            f"x{answer['scale']}",
            *([condition] if conditions else []),
            answer["cases"] // (len(answer["conditions"]) if condition else 1),
            method,
            *(formatted(key, means.get(key)) for key in keys),
            *([_gain(answer, condition, method)] if gained else []),
        )
        for answer, method, condition, means in cells
    ]
    more = ["gain, dB"] if gained else []
    return table([*columns, *(FIGURES[key].heading for key in keys), *more], rows)


def _gain(answer: Answer, condition: str, method: str) -> str:
    """What a method gains over bicubic interpolation under a condition, where that was stored."""
    found = answer.get("condition_gains", {}).get(condition, {}).get(method)
    return str(Gain(**found["psnr_y"])) if found else ""


def _methods(answer: Answer) -> list[tuple[str, str, Mapping[str, float]]]:
    """Method, condition and means, condition by condition where papers report them so."""
    if answer["by_condition"]:
        return [(m, c, v) for c, means in answer["conditions"].items() for m, v in means.items()]
    return [(method, "", means) for method, means in answer["methods"].items()]


def beside_papers(answers: Sequence[Answer]) -> str:
    """Our figures with the papers', and the difference where the pictures are the same."""
    rows = []
    notes: dict[str, None] = {}
    for answer in answers:
        for one in compare(answer):
            if one.ours is None:
                continue
            shown = "other pictures"
            if one.difference is not None:
                sign = "+" if one.difference >= 0 else "-"
                shown = sign + formatted(one.measure, abs(one.difference))
            rows.append(
                (
                    one.method,
                    one.condition or "all",
                    FIGURES[one.measure].heading,
                    answer["data"],
                    formatted(one.measure, one.ours),
                    one.data,
                    formatted(one.measure, one.paper),
                    shown,
                    one.source,
                )
            )
            if one.note:
                notes[f"{one.source}: {one.note}."] = None
    if not rows:
        return ""
    columns = ("method", "condition", "figure", "our data", "ours", "paper's data", "paper")
    text = table((*columns, "difference", "source"), rows)
    return "\n\n".join([text, *notes])


def worse(answers: Sequence[Answer]) -> str:
    """On how many pictures a model is no better than bicubic interpolation."""
    rows = []
    for answer in answers:
        for method in answer["methods"]:
            gains = differences(answer["pictures"], method)
            if method == "bicubic" or not gains:
                continue
            behind = [name for name, gain in gains.items() if gain <= 0]
            last = min(gains, key=lambda name: gains[name])
            place = f"{answer['protocol']} on {answer['data']}"
            by_condition = {
                condition: found[method]["psnr_y"]
                for condition, found in answer.get("condition_gains", {}).items()
                if len(answer["condition_gains"]) > 1
            }
            for condition, found in by_condition.items():
                fewer = found["pictures"] - found["larger"]
                behind_there = f"{fewer} of {found['pictures']}"
                rows.append((method, f"{place}, {condition}", behind_there, "-", "-"))
            rows.append(
                (
                    method,
                    f"{place}, mean of these" if by_condition else place,
                    f"{len(behind)} of {len(gains)}",
                    f"{gains[last]:+.2f} dB ({last})",
                    f"{max(gains.values()):+.2f} dB",
                )
            )
    return table(("method", "protocol and data", "no better than bicubic", "worst", "best"), rows)


def training(run: Sequence[dict[str, Any]]) -> str:
    """Steps, seconds, device and the learning curve as numbers."""
    measured = {key for line in run for key in line.get("validation", {})}
    told = [key for key in LABELS if key in measured]
    rows = []
    for line in run:
        if "validation" not in line:
            continue
        scores = line["validation"]
        psnr = scores["psnr_y"]
        rows.append(
            (
                line["step"],
                f"{line['total_seconds']:.0f}",
                "-" if psnr is None else f"{psnr:.2f}",
                "-" if psnr is None else f"{psnr - scores['bicubic']:+.2f}",
                *(f"{scores[key]:.3f}" for key in told),
            )
        )
    columns = ("step", "seconds", "PSNR-Y, crops", "over bicubic")
    return table((*columns, *(LABELS[key] for key in told)), rows)


def skill(
    numbers: Mapping[str, Mapping[str, float]],
    cropped: Mapping[str, Mapping[str, float]] | None = None,
) -> str:
    """Every number of the vector; with ``cropped``, also of pictures off JPEG's grid."""
    rows = [
        (
            key,
            _correlation(one),
            f"{one['error']:.3g}",
            _auc(one),
            *(() if cropped is None else (_correlation(cropped[key]), _auc(cropped[key]))),
            one["count"],
            "yes" if is_known(key, numbers) else "not known",
        )
        for key, one in numbers.items()
    ]
    columns = ["number", "correlation", "error", "AUC", "cases", "shown"]
    if cropped is not None:
        columns[4:4] = ["cropped: correlation", "AUC"]
    return table(columns, rows)


GRADES = (
    *("nothing", "none", "hardly any", "light", "slight", "some", "clear", "strong"),
    *("enlarged", "softened"),
)
"""What may be said of a topic, mildest first."""


def words(answer: Mapping[str, Any]) -> str:
    """What `docs/measure_words.py` printed, a table a topic."""
    parts: list[str] = []
    for topic, counts in answer["topics"].items():
        found = {(one["true"], one["said"]): one["count"] for one in counts}
        used = sorted({grade for pair in found for grade in pair}, key=GRADES.index)
        right = sum(count for (true, said), count in found.items() if true == said)
        rows = [(true, *(found.get((true, said), "") for said in used)) for true in used]
        share = f"{right / sum(found.values()):.0%} right"
        parts.append(table((f"{topic}: {share}", *used), rows))
    return "\n\n".join(parts)


def blurred(answer: Mapping[str, Any]) -> str:
    """What ``docs/measure_words.py --blurred`` printed: a row a blur, a column a topic."""
    rows = []
    topics = ("noise", "low-pass", "JPEG", "size")
    for sigma, said in answer["sigmas"].items():
        cells = []
        for topic in topics:
            grades = sorted(said[topic], key=GRADES.index)
            cells.append(", ".join(f"{grade} {said[topic][grade]}" for grade in grades))
        rows.append((sigma, *cells))
    return table(("sigma", *topics), rows)


def sharp(answer: Mapping[str, Any]) -> str:
    """What `docs/measure_sharp.py` printed."""
    rows = []
    scales = [key for key in answer if key.startswith("x")]
    for scale in scales:
        ways = answer[scale]
        for model in next(iter(ways.values())):
            found = [ways[way][model] for way in ways]
            gains = (f"{one['gain']:+.2f} ± {one['error']:.2f}" for one in found)
            worse = sum(one["worse"] for one in found), sum(one["pictures"] for one in found)
            worst = f"{min(one['worst'] for one in found):+.2f}"
            rows.append((scale, model, *gains, worst, f"{worse[0]} of {worse[1]}"))
    return table(("scale", "model", *answer[scales[0]], "worst", "worse than bicubic"), rows)


def flaws(answer: Mapping[str, Any]) -> str:
    """What `docs/measure_flaws.py` printed."""
    rows = []
    sides = list(next(iter(answer.values()))["flat"])
    for model, found in answer.items():
        pattern = dict(found["pattern"])
        grey = pattern.pop("grey")
        left = min(value for pair in found["line"].values() for value in pair)
        cells = (f"{grey:.1f}", f"{max(pattern.values()):.1f}", left)
        rows.append((model, *cells, *(found["flat"][side] for side in sides)))
    columns = ("pattern in grey", "in colour", "colour of lines")
    return table(("model", *columns, *(f"flat, {side} px" for side in sides)), rows)


def _correlation(one: Mapping[str, float]) -> str:
    return f"{one['correlation']:.2f}"


def _auc(one: Mapping[str, float]) -> str:
    return f"{one['auc']:.3f}" if "auc" in one else ""


def speed(answer: Mapping[str, Any]) -> str:
    """What `sr-cli bench --json` printed."""
    rows = [
        (
            "x".join(map(str, one["size"])),
            one["model"],
            " ".join((one["backend"], one["device"], one["precision"])),
            one["tile"],
            f"{one['seconds']:.2f}",
            f"{one['seconds_per_megapixel']:.2f}",
            _percent(one["network_share"]),
            _percent(one.get("share_of_matrix_product")),
            one.get("overhead_of_tiles", "-"),
            one["peak_megabytes"] or "-",
            # One tile of the whole picture is all at work.
            "-" if one["tile"] == 0 else one.get("predicted_megabytes", "-"),
        )
        for one in answer["rows"]
    ]
    columns = ("input", "model", "runs on", "tile", "seconds", "per MP out", "in the network")
    more = ("of the matrix product's pace", "arithmetic of tiles", "peak MB", "foretold MB")
    return table((*columns, *more), rows)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def timing(stored: dict[str, Any]) -> str:
    """Whole-process figures."""
    rows = [
        (f"`{o['command']}`", o["runs"], f"{o['seconds']:.2f}", f"{o['memory_mib']} MiB")
        for o in stored["commands"]
    ]
    return table(("command", "median of", "seconds", "peak memory"), rows)
