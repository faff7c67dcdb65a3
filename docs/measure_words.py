"""How often the sentence behind an estimate ("In short: ...") is right.

    python docs/measure_words.py --data val/ > docs/results/words-dan-real-x4.json

Degrades every picture of a folder as protocol `real` does, estimates it, and puts both the estimate
and the truth into words (`sr_cli/degradation/summary.py`).  Prints how often each grade was said
where each was true, by topic; and what is said of noise in the pictures of protocol `mild`, to
which none is added.  With ``--blurred`` instead, what is said of every topic where pictures were
shrunk and then blurred, more than training blurs them, and nothing else was done:

    python docs/measure_words.py --data val/ --blurred > docs/results/words-blurred-dan-real-x4.json
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from torch import Tensor

from sr_cli.degradation.explain import explain
from sr_cli.degradation.layout import Layout
from sr_cli.degradation.operators import blur, quantise
from sr_cli.degradation.summary import Topic, clauses
from sr_cli.metrics.evaluation import data_digest, jobs
from sr_cli.metrics.protocols import PROTOCOLS, Case, isotropic_kernel
from sr_cli.opening import OpenModel, open_model

NOTHING = "nothing"
"""The grade of a topic of which nothing is said."""
SIGMAS = (0.5, 1.0, 2.0, 4.0)
"""Of the Gaussian blurs of ``--blurred``, pixels of the small picture."""


def grades(
    layout: Layout, vector: Sequence[float], skill: Mapping[str, Mapping[str, float]]
) -> dict[str, str]:
    """What is said of every topic."""
    return {clause.topic: clause.grade for clause in clauses(explain(layout, vector, skill))}


def _estimate(opened: OpenModel, lr: Tensor) -> list[float]:
    estimate = opened.engine.estimate(lr.permute(1, 2, 0).contiguous().numpy())
    assert estimate is not None
    found: list[float] = estimate.tolist()
    return found


def _blurred(opened: OpenModel, cases: Sequence[Case], layout: Layout) -> dict[str, object]:
    """By sigma and topic, how often each grade was said."""
    found: dict[str, object] = {}
    for sigma in SIGMAS:
        kernel = isotropic_kernel(sigma, 2 * math.ceil(4 * sigma) + 1).float().unsqueeze(0)
        said = {topic: Counter[str]() for topic in get_args(Topic)}
        for case in cases:
            lr = quantise(blur(case.lr.unsqueeze(0), kernel))[0]
            told = grades(layout, _estimate(opened, lr), opened.estimate)
            for topic, counts in said.items():
                counts[told.get(topic, NOTHING)] += 1
        found[str(sigma)] = {topic: dict(sorted(counts.items())) for topic, counts in said.items()}
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="high-resolution pictures")
    parser.add_argument("--model", default="dan-real-x4")
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--blurred", action="store_true", help="of pictures that are only that")
    options = parser.parse_args()
    opened = open_model(options.model, "cpu", "fp32")
    layout = opened.layout
    assert layout is not None
    if options.blurred:
        shrunk = jobs(PROTOCOLS["mild"].at(opened.scale), options.data, options.seed, 1)
        cases = [case for job in shrunk if (case := job.make()).condition == "no JPEG"]
        facts = {"model": opened.name, "data_sha256": data_digest(shrunk), "cases": len(cases)}
        answer = facts | {"sigmas": _blurred(opened, cases, layout)}
        sys.stdout.write(json.dumps(answer, indent=1) + "\n")
        return
    known = {p.key: {"correlation": 1.0, "error": 0.0} for p in layout.parameters}
    said: dict[str, Counter[tuple[str, str]]] = {}
    work = jobs(PROTOCOLS["real"].at(opened.scale), options.data, options.seed, options.repeats)
    for job in work:
        case = job.make()
        assert case.vector is not None
        told = grades(layout, _estimate(opened, case.lr), opened.estimate)
        true = grades(layout, case.vector.tolist(), known)
        for topic in told | true:
            pair = true.get(topic, NOTHING), told.get(topic, NOTHING)
            said.setdefault(topic, Counter())[pair] += 1
    clean: Counter[str] = Counter()
    for job in jobs(PROTOCOLS["mild"].at(opened.scale), options.data, options.seed, 1):
        told = grades(layout, _estimate(opened, job.make().lr), opened.estimate)
        clean[told.get("noise", NOTHING)] += 1
    for topic, counts in said.items():
        counts[NOTHING, NOTHING] += len(work) - counts.total()
        said[topic] = +counts
    answer = {
        "model": opened.name,
        "data_sha256": data_digest(work),
        "seed": options.seed,
        "cases": len(work),
        "noise_where_none_is": dict(sorted(clean.items())),
        "topics": {
            topic: [
                {"true": true, "said": told, "count": count}
                for (true, told), count in sorted(counts.items())
            ]
            for topic, counts in said.items()
        },
    }
    sys.stdout.write(json.dumps(answer, indent=1) + "\n")


if __name__ == "__main__":
    main()
