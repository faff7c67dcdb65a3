"""From what stands on the command line to a list of pictures and their outputs."""

from __future__ import annotations

import functools
import glob
import hashlib
import io
import itertools
import os
import re
import stat
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from sr_cli.cli import console
from sr_cli.cli.console import CommandError

STANDARD = Path("-")
"""Standard input among the inputs, standard output among the outputs."""
PIPES = (Path("/dev"), Path("/dev/fd"), Path("/proc/self/fd"))
"""Folders of what no file can lie beside."""


_ENLARGED = "_x\0"
"""Stands for any enlargement behind a name; no file name has a zero byte."""
_ENDS_ENLARGED = re.compile(r"_x\d+(\.\d+)?$")


@dataclass(frozen=True)
class Source:
    """A picture to work on."""

    path: Path
    below: Path
    """Its path within the folder that was named, or its bare name."""
    data: bytes | None = None
    """The picture itself if it came on standard input."""
    problem: str | None = None
    """Why there is nothing to read, such as an empty folder in the midst of others."""
    found: bool = False
    """Whether it was found in a folder or by a pattern, of which there could be more."""

    @property
    def content(self) -> Path | io.BytesIO:
        """Where to read the picture from, as often as it takes."""
        data = self._piped if self.data is None else self.data
        return self.path if data is None else io.BytesIO(data)

    @functools.cached_property
    def _piped(self) -> bytes | None:
        """What a pipe or a device gives, which it does only once; None for a file."""
        try:
            kind = self.path.stat().st_mode
            if stat.S_ISFIFO(kind) or stat.S_ISCHR(kind) or stat.S_ISSOCK(kind):
                return self.path.read_bytes()
        except OSError:
            pass  # whoever reads the path is told why
        return None


def find_sources(names: Iterable[str], *, recursive: bool, as_json: bool = False) -> list[Source]:
    """Files as they are, folders and patterns as the pictures in them, in order and once each.

    A name that is nothing of these is taken for a file, so that it is reported as missing with the
    others of its batch still done.

    Args:
        names: As given; ``-`` stands for a picture, or a list of names, on standard input.
        recursive: Whether to go into the folders within folders. Links to folders are not followed.
        as_json: Whether, where there is nothing at all, every name's reason is a JSON Line too.

    Raises:
        CommandError: There is nothing at all.
    """
    found: dict[Path, Source] = {}
    others: list[Path] = []
    for name in dict.fromkeys(names):
        look = _standard_input if name == "-" else partial(_named, name)
        for source in look(recursive, others):
            found.setdefault(_own_place(source.path), source)
    if others:
        _tell_left_out(list({_own_place(path): path for path in others}))
    sources = list(found.values())
    if sources and all(source.problem for source in sources):
        first = sources[0]
        if as_json:
            for source in sources:
                console.print_json({"input": str(source.path), "error": source.problem})
        raise CommandError(f"{first.path}: {first.problem}. Name another folder, pattern or file.")
    return sources


def _own_place(path: Path) -> Path:
    """The same for every way to its folder; links to files are pictures of their own."""
    return _real_folder(path.parent) / path.name


def tell_left_out(folder: Path) -> None:
    """Says which pictures of a folder are of kinds that are not read, if there are any."""
    from sr_cli.images import find_pictures

    others: list[Path] = []
    find_pictures(folder, recursive=False, others=others.append)
    if others:
        _tell_left_out(others)


def _tell_left_out(others: Sequence[Path]) -> None:
    from sr_cli.images import endings_of

    one = len(others) == 1
    what = "file of a kind" if one else "files of kinds"
    console.note(
        f"{len(others)} {what} that {'is' if one else 'are'} not read ({endings_of(others)}) "
        f"{'was' if one else 'were'} left out; convert {'it' if one else 'them'} first"
    )


def _named(
    name: str, recursive: bool, others: list[Path], *, patterns: bool = True
) -> list[Source]:
    """What a name stands for.

    Args:
        name: A file, a folder or a pattern.
        recursive: As of `find_sources`.
        others: Is given the pictures of kinds that are not read, beside those found.
        patterns: Whether a name may be a pattern.
    """
    from sr_cli.images import find_pictures

    path = Path(name)
    unread: list[Path] = []
    if os.path.isdir(name):  # noqa: PTH112 - pathlib's raises where a name is too long
        closed: list[OSError] = []
        try:
            pictures = find_pictures(
                path, recursive=recursive, unreadable=closed.append, others=unread.append
            )
        except OSError as error:
            return [_closed(error)]
        found = [Source(p, p.relative_to(path), found=True) for p in pictures]
        found += map(_closed, closed)
        if found:
            others += unread
            return found
        itself = "" if recursive else " itself"
        none = f"there is no picture in this folder{itself}"
        if unread:
            none = _all_unread(f"the pictures in this folder{itself}", unread)
        hint = "" if recursive else "; --recursive looks into the folders within"
        return [_nothing(path, f"{none}{hint}")]
    if not (patterns and glob.has_magic(name)) or os.path.lexists(name):
        return [Source(path, Path(path.name))]
    closed = []
    matches = list(_matches(path, recursive, closed.append, unread.append))
    fixed = Path(*_before_magic(path))
    found = [Source(p, p.relative_to(fixed), found=True) for p in matches]
    found += map(_closed, closed)
    if found:
        others += unread
        return found
    none = "no picture matches this pattern"
    if unread:
        none = _all_unread("the pictures that match this pattern", unread)
    return [_nothing(path, none)]


def _all_unread(pictures: str, unread: Iterable[Path]) -> str:
    from sr_cli.images import endings_of

    return f"{pictures} are of kinds that are not read ({endings_of(unread)}); convert them first"


def _matches(
    pattern: Path,
    recursive: bool,
    unreadable: Callable[[OSError], None],
    others: Callable[[Path], None],
) -> Iterator[Path]:
    """The files that a pattern names, and the pictures of the folders that it does.

    Files of other endings than pictures' are matched only by a pattern that has an ending itself,
    links to folders not at all.
    """
    from sr_cli.images import OTHER_SUFFIXES, PICTURE_SUFFIXES, find_pictures
    from sr_cli.images.discovery import is_file

    for path in sorted(set(_globbed(pattern, unreadable))):
        if path.is_dir():
            if not path.is_symlink():
                try:
                    yield from find_pictures(
                        path, recursive=recursive, unreadable=unreadable, others=others
                    )
                except OSError as error:
                    unreadable(error)
        elif is_file(path):
            if pattern.suffix or path.suffix.lower() in PICTURE_SUFFIXES:
                yield path
            elif path.suffix.lower() in OTHER_SUFFIXES:
                others(path)


def _globbed(pattern: Path, unreadable: Callable[[OSError], None]) -> Iterator[Path]:
    """What a pattern matches; ``**`` follows no links to folders, which go round in circles."""
    parts = pattern.parts
    if "**" not in parts:
        yield from map(Path, glob.iglob(str(pattern)))  # noqa: PTH207 - pathlib's takes hidden files
        return
    at = parts.index("**")
    below = parts[at + 1 :] or ("*",)
    for top in filter(os.path.isdir, glob.iglob(str(Path(*parts[:at])))):  # noqa: PTH207
        for folder, within, _ in os.walk(top, onerror=unreadable):
            within[:] = [name for name in within if not name.startswith(".")]
            yield from _globbed(Path(glob.escape(folder), *below), unreadable)


def _closed(error: OSError) -> Source:
    """A folder that may hold pictures which nobody can see."""
    return _nothing(Path(error.filename), f"the folder cannot be read: {error.strerror}")


def _nothing(path: Path, problem: str) -> Source:
    return Source(path, Path(path.name), problem=problem)


def _before_magic(pattern: Path) -> Iterator[str]:
    for part in pattern.parts:
        if glob.has_magic(part):
            return
        yield part


def _standard_input(recursive: bool, others: list[Path]) -> list[Source]:
    """The picture on standard input, or those that are listed there.

    Names are separated by line ends or, as ``find -print0`` does, by zero bytes.
    """
    from sr_cli.images import begins_like_picture, is_text

    data = sys.stdin.buffer.read()
    if begins_like_picture(data):
        return [Source(STANDARD, Path("stdin"), data=data)]
    listed_by_zeros = b"\0" in data and b"\0\0" not in data  # where names may hold anything
    if not (listed_by_zeros or is_text(data)):
        raise CommandError("Standard input holds neither a picture nor a list of names.")
    lines = data.split(b"\0" if b"\0" in data else b"\n")
    names = [os.fsdecode(line.removesuffix(b"\r")) for line in lines]
    listed = [s for name in names if name for s in _named(name, recursive, others, patterns=False)]
    sources = [replace(source, found=True) for source in listed]  # another day it lists more
    if not sources:
        raise CommandError("Standard input is empty. Send it a picture, or names one a line.")
    return sources


def output_path(out: str | None) -> Path | None:
    """OUT as a path; `STANDARD` for every name of standard output: nothing else may go there."""
    if out in ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
        return STANDARD
    return None if out is None else Path(out)


def leave_out_results(
    sources: list[Source], out: Path | None, suffix: str
) -> tuple[list[Source], list[Source]]:
    """Parts the pictures from the results of an earlier run over the same folder.

    A result is known by its name, whatever its format, and only while the picture that it was made
    of is among the sources: it ends in the suffix, or in that of another enlargement (``_x2``).
    With any other suffix it is known by saying that this program has made it, if it was found; and
    so it is with an empty one, if another picture's result goes where it lies.

    Returns:
        The pictures, and what is left out.
    """
    from sr_cli.images import is_made_here

    made = _makers(sources, out, (suffix, _ENLARGED) if suffix else ("",))
    kept: list[Source] = []
    left_out: list[Source] = []
    stems = {_folded(source.path.stem) for source in sources}
    for source in sources:
        stem = source.path.stem
        names = {stem, _ENDS_ENLARGED.sub(_ENLARGED, stem)}
        makers = {one for name in names for one in made.get(_key(source.path.parent / name), ())}
        is_result = bool(makers - {source})
        if not suffix:  # then the name alone says nothing
            is_result = is_result and source.found and is_made_here(source.path)
        elif not is_result:
            is_result = _is_result(source, stems)
        (left_out if is_result else kept).append(source)
    return kept, left_out


def lies_where_another_goes(
    sources: Sequence[Source], out: Path, extension: str
) -> Callable[[Source], bool]:
    """What tells whether a picture lies where another one's result went or will go.

    Args:
        sources: All of them.
        out: The folder of the results.
        extension: That they end in, with its dot.
    """
    makers = _makers(sources, out, (extension,))
    return lambda source: bool(makers.get(_key(source.path), set()) - {source})


def _makers(
    sources: Iterable[Source], out: Path | None, ends: Iterable[str]
) -> dict[tuple[str, str], set[Source]]:
    """By every place where a result may lie, the pictures that it may be made of."""
    found: dict[tuple[str, str], set[Source]] = {}
    for source in sources:
        folder = _folder_for(source, out)
        for stem, end in itertools.product(_stems(source), ends):
            found.setdefault(_key(folder / f"{stem}{end}"), set()).add(source)
    return found


def _is_result(source: Source, stems: set[str]) -> bool:
    """Whether a picture that was found was made here, of one whose name begins its own.

    What follows that name begins as suffixes do: ``ab_x4`` is no result of ``a``.
    """
    from sr_cli.images import is_made_here

    name = _folded(source.path.stem)
    ends = (end for end in range(1, len(name)) if not name[end].isalnum())
    return source.found and any(name[:end] in stems for end in ends) and is_made_here(source.path)


def plan_outputs(
    sources: list[Source],
    out: Path | None,
    suffix: str,
    extension: str | Callable[[Source], str],
    *,
    folder: bool = False,
) -> list[Path]:
    """Where each result goes; no two go to the same place.

    Where two would, as those of ``a.jpg`` and ``a.png``, both say in their names what they were
    made of: ``a_jpg_x4.png`` and ``a_png_x4.png``. If that is not enough, a few letters that stand
    for the whole path do. So names do not depend on the order, and a result is never taken for that
    of another picture that happened to be there in the last run.

    Args:
        sources: From `find_sources`.
        out: A file name if there is one source, else a folder; None for beside each input.
            `STANDARD` for standard output, where one from standard input goes if this is None.
        suffix: Put behind the name, like ``_x4``.
        extension: With its dot, or what tells it of a source.
        folder: Whether ``out`` is one whatever it is called.
    """
    if out is not None and is_one_file(out, sources, folder=folder):
        return [out]
    endings = [extension if isinstance(extension, str) else extension(s) for s in sources]
    plans: dict[int, Path] = {}
    taken: set[tuple[str, str]] = set()
    for level in range(3):
        wishes: dict[int, Path] = {}
        for number, source in enumerate(sources):
            if number not in plans:
                name = f"{_stems(source)[level]}{suffix}{endings[number]}"
                wishes[number] = _folder_for(source, out) / name
        wanted = Counter(_key(wish) for wish in wishes.values())
        last = level == 2
        fit = {n: w for n, w in wishes.items() if last or wanted[_key(w)] == 1}
        fit = {n: w for n, w in fit.items() if last or _key(w) not in taken}
        plans |= fit
        taken |= {_key(wish) for wish in fit.values()}
    return [
        STANDARD if out is None and source.data is not None else plans[number]
        for number, source in enumerate(sources)
    ]


def is_one_file(out: Path, sources: Sequence[Source], *, folder: bool) -> bool:
    """Whether OUT names the file of the only result, rather than a folder.

    A picture that happens to be the only one in a folder goes to a file only if OUT ends as those
    of pictures do: ``results-v1.5`` is a folder today, too.

    Args:
        out: As given.
        sources: All of them.
        folder: Whether it is a folder whatever it is called.
    """
    from sr_cli.images import PICTURE_SUFFIXES

    if len(sources) != 1 or folder:
        return False
    if out == STANDARD:
        return True
    if out.exists():
        return not out.is_dir()
    return out.suffix.lower() in PICTURE_SUFFIXES if sources[0].found else bool(out.suffix)


def _folder_for(source: Source, out: Path | None) -> Path:
    return source.path.parent if out is None else out / source.below.parent


def _stems(source: Source) -> tuple[str, str, str]:
    """Names for its result, from the plain one to one that no other picture has."""
    stem, kind = source.below.stem, source.path.suffix.lstrip(".").lower()
    longer = f"{stem}_{kind}" if kind else stem
    whole = os.fsencode(Path.cwd() / source.path)
    return stem, longer, f"{longer}_{hashlib.sha256(whole).hexdigest()[:8]}"


def _key(path: Path) -> tuple[str, str]:
    """What makes two paths one, also where file systems ignore case or how accents are written."""
    folder = str(_real_folder(path.parent))
    return _folded(folder), _folded(path.name)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def _real_folder(folder: Path) -> Path:
    """The folder without links."""
    return _resolved(Path.cwd() / folder)


@functools.cache  # thousands of pictures share a few folders
def _resolved(folder: Path) -> Path:
    return Path(os.path.realpath(folder))
