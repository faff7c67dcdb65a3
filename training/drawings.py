"""Drawings to learn from beside photographs: lines, frames, tables, charts, windows and text.

Photographs hold hardly a sharp line on plain ground, and a network that has seen none can do
anything with one (training-log, entry 23).  These are drawn from a seed, so that they need not be
kept; like any other pictures they are given to ``train`` by one more ``--data``.

    python -m training.drawings --out drawings/ --count 64 --seed 0
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

SIDE = 512
"""Pixels of a drawing's side, unless told otherwise."""
UNIT = 4
"""Pixels that a thin line is wide: one pixel of a picture that is enlarged four times."""
TEXT = (
    "blind super resolution of any picture whatever was done to it before "
    "Table Figure Save Open Cancel 0.125 1,024 2026 48% x4 (a) [b] {c} <d> #e @f & +/- 3:45 km/h"
)
WORDS = TEXT.split()

Colour = tuple[int, int, int]


class Page:
    """What is drawn on, with its chance and its colours."""

    def __init__(self, rng: random.Random, side: int) -> None:
        self.rng = rng
        self.side = side
        plain: list[Colour] = [(255, 255, 255), (255, 255, 255), (255, 255, 255), (0, 0, 0)]
        self.ground: Colour = rng.choice([*plain, self.any_colour(), self.any_colour()])
        self.image = Image.new("RGB", (side, side), self.ground)
        self.draw = ImageDraw.Draw(self.image)

    def any_colour(self) -> Colour:
        """Any of all colours."""
        return self.rng.randrange(256), self.rng.randrange(256), self.rng.randrange(256)

    def ink(self) -> Colour:
        """Black or white, whichever the ground is not, or any colour that differs from it."""
        if self.rng.random() < 0.6:
            return (0, 0, 0) if sum(self.ground) > 382 else (255, 255, 255)
        while True:
            colour = self.any_colour()
            if max(abs(a - b) for a, b in zip(colour, self.ground, strict=True)) > 60:
                return colour

    def place(self, low: int = 0, high: int | None = None) -> int:
        """A coordinate, as often as not on the grid of what is four times smaller."""
        found = self.rng.randrange(low, max(self.side if high is None else high, low + 1))
        return found // UNIT * UNIT if self.rng.random() < 0.5 else found

    def width(self) -> int:
        """Of a line: one to three pixels of the picture to enlarge, or any width."""
        return self.rng.choice([UNIT, UNIT, UNIT, 2 * UNIT, 3 * UNIT, self.rng.randint(2, 14)])

    def box(self, smallest: int = 32) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of somewhere within."""
        left, top = (self.place(0, self.side - smallest) for _ in range(2))
        return (
            left,
            top,
            self.place(left + smallest - 1, self.side),
            self.place(top + smallest - 1, self.side),
        )

    def words(self, place: tuple[int, int], height: int, count: int) -> None:
        """Some words in a row, ``height`` pixels high."""
        text = " ".join(self.rng.choice(WORDS) for _ in range(count))
        self.draw.text(place, text, self.ink(), ImageFont.load_default(height))


def lines(page: Page) -> None:
    """Straight lines, mostly level or upright."""
    for _ in range(page.rng.randint(3, 12)):
        x, y, x2, y2 = (page.place() for _ in range(4))
        kind = page.rng.random()
        x2, y2 = (x if kind < 0.4 else x2), (y if 0.4 <= kind < 0.8 else y2)
        page.draw.line((x, y, x2, y2), page.ink(), page.width())


def frames(page: Page) -> None:
    """Rectangles, empty or full, and ellipses."""
    for _ in range(page.rng.randint(2, 8)):
        shape = page.rng.choice([page.draw.rectangle, page.draw.rectangle, page.draw.ellipse])
        fill = page.ink() if page.rng.random() < 0.25 else None
        shape(page.box(), fill, page.ink(), page.width())


def table(page: Page) -> None:
    """Ruled rows and columns with words in them."""
    left, top, right, bottom = page.box(page.side // 2)
    ink, width = page.ink(), page.width()
    row, column = page.rng.randrange(24, 80, 4), page.rng.randrange(60, 180, 4)
    for y in range(top, bottom, row):
        page.draw.line((left, y, right, y), ink, width)
        for x in range(left, right, column):
            page.words((x + 12, y + width + 2), max(row - 2 * width - 8, 10), 1)
    for x in range(left, right, column):
        page.draw.line((x, top, x, bottom), ink, width)


def chart(page: Page) -> None:
    """Two axes with curves or bars."""
    left, top, right, bottom = page.box(page.side // 2)
    page.draw.line((left, top, left, bottom, right, bottom), page.ink(), page.width())
    for _ in range(page.rng.randint(1, 4)):
        points = [(x, page.rng.randint(top, bottom)) for x in range(left, right, 36)]
        ink, width = page.ink(), page.width()
        if page.rng.random() < 0.7:
            page.draw.line(points, ink, width)
            continue
        for x, y in points:
            page.draw.rectangle((x + 4, y, x + 20, bottom), ink)


def text(page: Page) -> None:
    """Lines of text of one size or several."""
    y, height = page.place(0, 40), page.rng.randint(24, 72)
    while y < page.side:
        page.words((page.place(0, 60), y), height, 8)
        y += round(1.3 * height)
        if page.rng.random() < 0.2:
            height = page.rng.randint(24, 96)


def window(page: Page) -> None:
    """A window of a program: frame, title, boxes to tick and buttons."""
    left, top, right, bottom = page.box(page.side // 2)
    face, ink = page.any_colour(), page.ink()
    page.draw.rectangle((left, top, right, bottom), face, ink, UNIT)
    page.draw.rectangle((left, top, right, top + 56), page.any_colour())
    page.words((left + 16, top + 8), 36, 2)
    for y in range(top + 80, bottom - 40, 64):
        page.draw.rectangle((left + 24, y, left + 56, y + 32), page.any_colour(), ink, UNIT)
        page.words((left + 76, y - 2), 34, 2)


KINDS: tuple[Callable[[Page], None], ...] = (lines, frames, table, chart, text, window)


def drawing(seed: int, side: int = SIDE) -> Image.Image:
    """A drawing of one or two kinds.

    Args:
        seed: Another number, another drawing.
        side: Pixels, at least 128.

    Returns:
        A square in RGB.
    """
    rng = random.Random(seed)
    page = Page(rng, side)
    for kind in rng.sample(KINDS, rng.choice([1, 1, 2])):
        kind(page)
    return page.image


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m training.drawings", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder; made if it is not there")
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--side", type=int, default=SIDE, help="pixels")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.count < 1 or options.side < 128:
        parser.error("--count must be at least 1, --side at least 128")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        for number in range(options.count):
            path = options.out / f"drawing-{options.seed}-{number:04}.png"
            drawing(1_000_000 * options.seed + number, options.side).save(path, optimize=True)
    except OSError as error:
        parser.error(f"{error.filename or options.out} cannot be written: {error.strerror}")
    sys.stdout.write(f"wrote {options.count} drawings to {options.out}\n")


if __name__ == "__main__":
    main()
