"""Annotation lists: which videos there are, with what label, and which further columns (split, subject, group ...).

Three formats, one reader. CSV with a header line: column ``path``, optionally ``label``, and any further columns. JSON:
a list of objects with ``name`` (the published FedVSSL lists: ``class_name/youtubeid_000009_000019``) or ``path``,
optionally ``label``, and any further keys. Text: ``name label`` or ``name`` on each line. Lists come from strangers:
nothing in them is executed, no path leaves the data root, and every bad line is reported as ``file:line: reason``
before anything is decoded.
"""

import re
import stat
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from fedvssl.data.list_files import INTEGER, SHOWN_FAULTS, Faults, Row, quoted, read_table
from fedvssl.errors import DataListError, suggest

UNLABELLED = -1
VIDEO_SUFFIXES = frozenset({'.3gp', '.avi', '.flv', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.mts', '.ogv',
                            '.ts', '.webm', '.wmv', '.zip'})
"""Of video files, and of zips of frames."""

MAX_LABEL = 2**31 - 1

_ABSOLUTE = re.compile(r'[/\\]|[A-Za-z]:[/\\]')


def bare_name(path: str) -> str:
    """Returns a path without the suffix of a video, blanks as underscores: lists name the same video in these ways."""
    stem, _, suffix = path.rpartition('.')
    return (stem if f'.{suffix.lower()}' in VIDEO_SUFFIXES else path).replace(' ', '_')


@dataclass(frozen=True, slots=True)
class Video:
    """One video of a list.

    Attributes:
        path: POSIX path relative to the data root.
        label: Class number, counted from 0; `UNLABELLED` (-1) in a list without labels.
        columns: The values of all further columns; '' where the list has none.
        line: Line of the file, or entry of a JSON file, counted from 1.
    """

    path: str
    label: int
    columns: Mapping[str, str] = field(hash=False)
    line: int


def read_annotations(file: Path | str, root: Path | str, *, label_base: int = 0, num_classes: int | None = None,
                     split: str | None = None, split_column: str = 'split', extension: str = '') -> list[Video]:
    """Reads a list of videos and checks every line of it.

    Labels are integers. A CSV file may have class names instead; they are numbered in sorted order over the whole file,
    before `split` is applied, so keep the splits of one dataset in one file. Numbers that are no plain integers (1.0,
    1_0) are refused rather than taken for class names.

    Args:
        file: The list, ``.csv``, ``.json`` or ``.txt``, in UTF-8.
        root: Directory that the paths are relative to; not touched here (see `resolve`).
        label_base: The number that the file gives to its first class: 0, or 1 as in the published lists. Class names
            ignore it.
        num_classes: Number of classes; None accepts any label from `label_base` on.
        split: Keeps only the rows with this value in `split_column`. The other rows are checked all the same.
        split_column: Name of the column for `split`.
        extension: Appended to every path or name, e.g. ``'.mp4'`` for the published lists.

    Returns:
        The videos in the order of the file, at least one.

    Raises:
        DataListError: If the file, a line of it or the selection is wrong; names the first 20 bad lines.
    """
    file = Path(file)
    faults = Faults(file)
    table = read_table(file, faults)
    if not table.rows:
        faults.raise_if_any()
        raise DataListError(f'{file}: no rows; it must name at least one video')
    if split is not None and split_column not in table.columns:
        raise DataListError(f'{file}: no column {split_column!r} to take split {split!r} from'
                            f'{suggest(split_column, table.columns)}')
    labels = _number_labels(table.rows, label_base, num_classes, faults)
    videos: list[Video] = []
    first_line: dict[str, int] = {}
    for row in table.rows:
        path = _below_root(row, root, extension, faults)
        if path and first_line.setdefault(path, row.line) != row.line:
            faults.add(row.line, f'{quoted(path)} is already on line {first_line[path]}')
        if split is not None and not row.columns[split_column]:
            faults.add(row.line, f'no value in column {split_column!r}')
        videos.append(Video(path, labels.get(row.line, UNLABELLED), row.columns, row.line))
    faults.raise_if_any()
    return videos if split is None else _select(file, videos, split, split_column)


def read_quarantine(file: Path | str) -> frozenset[str]:
    """Reads the paths (relative to the data root) of videos to be left out, as ``tools/doctor.py data`` writes them.

    Args:
        file: A list of a kind that `read_annotations` reads; one with no rows but a header is fine.

    Raises:
        DataListError: If the file or a line of it is wrong.
    """
    file = Path(file)
    faults = Faults(file)
    table = read_table(file, faults)
    if not set(table.columns) <= {'reason'}:
        raise DataListError(f'{file}: has columns {", ".join(table.columns)}; a quarantine has path and reason only')
    paths = frozenset(_below_root(row, 'of the list', '', faults) for row in table.rows)
    faults.raise_if_any()
    return paths


def resolve(root: Path | str, relative: str) -> Path:
    """Returns the file `relative` below `root`, after a look at where it really leads.

    A missing file is returned like any other; whoever opens it reports it.

    Raises:
        DataListError: If the path is absolute, climbs with ``..``, leads through a symbolic link out of `root`, or is
            a pipe, device or socket. (A directory may hold a video's frames.)
    """
    root = Path(root)
    fault = _path_fault(relative, root)
    if fault:
        raise DataListError(f'{root}: {fault}')
    path = root / relative
    try:
        real = path.resolve()
        if not real.is_relative_to(root.resolve()):
            raise DataListError(f'{path}: leads out of the data root, to {real}')
        mode = real.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return path
    except (OSError, RuntimeError, ValueError) as error:  # loops of links, names that no file can have
        raise DataListError(f'{path}: cannot be looked at ({error})') from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise DataListError(f'{path}: is neither a file nor a directory of frames')
    return path


def _below_root(row: Row, root: Path | str, extension: str, faults: Faults) -> str:
    fault = _path_fault(row.path, root)
    if fault:
        faults.add(row.line, fault)
        return ''
    return '/'.join(part for part in row.path.split('/') if part not in ('', '.')) + extension


def _path_fault(path: str, root: Path | str) -> str | None:
    parts = re.split(r'[/\\]', path)
    if _ABSOLUTE.match(path):
        return f'path {quoted(path)} is absolute; write it relative to the data root {root}'
    if '..' in parts:
        return f'path {quoted(path)} contains ".."; every video must lie below the data root {root}'
    return 'the path is empty' if set(parts) <= {'', '.'} else None


def _number_labels(rows: list[Row], base: int, num_classes: int | None, faults: Faults) -> dict[int, int]:
    """Returns line -> label from 0 on, for the rows that have a usable label."""
    labelled = [(row.line, row.label) for row in rows if row.label is not None]
    numbers = [(line, label) for line, label in labelled if INTEGER.fullmatch(label)]
    names = [(line, label) for line, label in labelled if not _is_number(label)]
    for line, label in labelled:
        if _is_number(label) and not INTEGER.fullmatch(label):
            faults.add(line, f'label {quoted(label)} is not an integer')
    if names and numbers:
        few, many = (names, numbers) if len(names) <= len(numbers) else (numbers, names)
        what = 'not an integer' if few is names else 'not a class name'
        for line, label in few:
            faults.add(line, f'label {quoted(label)} is {what} as {quoted(many[0][1])} on line {many[0][0]} is; '
                             'use one kind in the whole file')
    if len(names) > len(numbers):
        return _class_numbers(names, num_classes, faults)
    last = MAX_LABEL if num_classes is None else base + num_classes - 1
    labels = {}
    for line, text in numbers:
        value = int(text) if len(text) <= 12 else MAX_LABEL + 1  # int() refuses thousands of digits
        if value < base and num_classes is None:
            faults.add(line, f'label {quoted(text)} is below {base}, where labels begin (label_base={base}); if these '
                             f'are counted from {value}, say so')
        elif not base <= value <= last:
            faults.add(line, f'label {quoted(text)} is outside {base}..{last} '
                             f'(label_base={base}, num_classes={num_classes})')
        labels[line] = value - base
    return labels


def _class_numbers(names: list[tuple[int, str]], num_classes: int | None, faults: Faults) -> dict[int, int]:
    known = {name: number for number, name in enumerate(sorted({name for _, name in names}))}
    for line, name in names:
        if num_classes is not None and known[name] >= num_classes:
            faults.add(line, f'label {quoted(name)} is class {known[name]} of 0..{num_classes - 1}: the file has '
                             f'{len(known)} class names, num_classes={num_classes}')
    return {line: known[name] for line, name in names}


def _is_number(label: str) -> bool:
    # '1.0' (as pandas writes it) must not become a class name: sorted as text, 10.0 comes before 2.0.
    try:
        float(label)
    except ValueError:
        return False
    return any(character.isdigit() for character in label)


def _select(file: Path, videos: list[Video], split: str, column: str) -> list[Video]:
    selected = [video for video in videos if video.columns[column] == split]
    if not selected:
        counts = Counter(video.columns[column] for video in videos)
        there = ', '.join(f'{quoted(name)} ({count})' for name, count in sorted(counts.items())[:SHOWN_FAULTS])
        raise DataListError(f'{file}: no rows with {split!r} in column {column!r}; there are: {there}')
    alike = next((video for video in videos if video.columns[column].casefold() == split.casefold()
                  and video.columns[column] != split), None)
    if alike is not None:
        raise DataListError(f'{file}:{alike.line}: {quoted(alike.columns[column])} in column {column!r}, and '
                            f'{quoted(split)} elsewhere; write it one way')
    return selected


def list_digest(videos: Iterable[Video]) -> str:
    """Returns the SHA-256 of the sorted paths, one a line: which videos these are, whatever their order."""
    return sha256(''.join(f'{path}\n' for path in sorted(video.path for video in videos)).encode()).hexdigest()
