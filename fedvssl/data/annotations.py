"""Annotation lists: which videos there are, with what label, and which further columns (split, subject, group ...).

Two formats, one reader. CSV with a header line: column ``path``, optionally ``label``, and any further columns. JSON:
a list of objects with ``name`` (the published FedVSSL lists: ``class_name/youtubeid_000009_000019``) or ``path``,
optionally ``label``, and any further keys. Lists come from strangers, so nothing in them is executed, no path leaves
the data root, and every bad line is reported as ``file:line: reason`` before anything is decoded. In JSON the "line" is
the number of the entry, counted from 1; only a syntax error names a line of text.
"""

import csv
import json
import re
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedvssl.errors import DataListError, suggest

UNLABELLED = -1
SHOWN_FAULTS = 20
MAX_LABEL = 2**31 - 1

_BLANK = ' \t\r\n'
_INTEGER = re.compile(r'[+-]?[0-9]+')
_ABSOLUTE = re.compile(r'[/\\]|[A-Za-z]:[/\\]')
# A control character in a value is a wrong separator or damage; a lone surrogate cannot be written in UTF-8.
_UNPRINTABLE = re.compile(r'[\x00-\x1f\x7f\ud800-\udfff]')


@dataclass(frozen=True, slots=True)
class Video:
    """One video of a list.

    Attributes:
        path: POSIX path relative to the data root.
        label: Class number, counted from 0; `UNLABELLED` (-1) in a list without labels.
        columns: The values of all further columns; '' where the list has none.
        line: Line of the CSV file, or entry of the JSON file, counted from 1.
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
        file: The list, ``.csv`` or ``.json``, in UTF-8.
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
    faults = _Faults(file)
    table = _PARSERS[_checked_suffix(file)](_read(file), faults)
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
            faults.add(row.line, f'{_quoted(path)} is already on line {first_line[path]}')
        if split is not None and not row.columns[split_column]:
            faults.add(row.line, f'no value in column {split_column!r}')
        videos.append(Video(path, labels.get(row.line, UNLABELLED), row.columns, row.line))
    faults.raise_if_any()
    return videos if split is None else _select(file, videos, split, split_column)


def resolve(root: Path | str, relative: str) -> Path:
    """Returns the file `relative` below `root`, after a look at where it really leads.

    A missing file is returned like any other; whoever opens it reports it.

    Raises:
        DataListError: If the path is absolute, climbs with ``..``, leads through a symbolic link out of `root`, or is
            a directory, pipe, device or socket.
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
    if not stat.S_ISREG(mode):
        raise DataListError(f'{path}: is not a regular file')
    return path


class _Faults:
    """Collects what is wrong with each line, to raise it in one error."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._reasons: dict[int, list[str]] = {}

    def add(self, line: int, reason: str) -> None:
        self._reasons.setdefault(line, []).append(reason)

    def raise_if_any(self) -> None:
        if not self._reasons:
            return
        count = len(self._reasons)
        shown = [f'{self._file}:{line}: ' + '; '.join(self._reasons[line])
                 for line in sorted(self._reasons)[:SHOWN_FAULTS]]
        more = f' (the first {SHOWN_FAULTS} are shown)' if count > SHOWN_FAULTS else ''
        raise DataListError('\n'.join([f'{self._file}: {count} bad line{"s" if count > 1 else ""}{more}', *shown]))


@dataclass(slots=True)
class _Row:
    line: int
    path: str
    label: str | None
    columns: dict[str, str]


@dataclass
class _Table:
    columns: list[str]
    rows: list[_Row]


def _checked_suffix(file: Path) -> str:
    suffix = file.suffix.lower()
    if suffix not in _PARSERS:
        raise DataListError(f'{file}: only .csv and .json lists are read, not {suffix or "files without a suffix"!r}: '
                            'loading pickle or YAML can execute what is in the file; convert it to CSV')
    return suffix


def _read(file: Path) -> bytes:
    try:
        data = file.read_bytes()
    except FileNotFoundError as error:
        raise DataListError(f'{file}: no such file; check the path of the annotation list') from error
    except (OSError, ValueError) as error:
        raise DataListError(f'{file}: cannot be read ({error})') from error
    data = data.removeprefix(b'\xef\xbb\xbf')
    if not data.strip():
        raise DataListError(f'{file}: is empty; it must name at least one video')
    return data


def _text_lines(data: bytes, faults: _Faults) -> Iterator[tuple[int, str]]:
    """Yields the number and text of every line that is neither blank nor undecodable."""
    for line, raw in enumerate(data.split(b'\n'), 1):
        if b'\0' in raw:
            faults.add(line, 'contains a NUL byte; is this a text file in UTF-8?')
            continue
        try:
            text = raw.decode().rstrip(_BLANK)
        except UnicodeDecodeError as error:
            faults.add(line, f'byte 0x{raw[error.start]:02x} at position {error.start + 1} is not UTF-8; '
                             'save the file as UTF-8')
            continue
        if text.strip():
            yield line, text


def _fields(line: int, text: str, faults: _Faults) -> list[str] | None:
    # One physical line at a time: no value holds a line break, and an open quote cannot swallow the rest of the file.
    try:
        return [value.strip(_BLANK) for value in next(csv.reader([text], strict=True, skipinitialspace=True))]
    except csv.Error as error:
        faults.add(line, f'is not CSV ({error})')
        return None


def _parse_csv(data: bytes, faults: _Faults) -> _Table:
    lines = _text_lines(data, faults)
    line, text = next(lines, (1, ''))
    header = _fields(line, text, faults) or []
    if 'path' not in header:
        faults.add(line, f'no column "path" in the header {_quoted(text)}; columns are separated by commas')
    if not all(header) or len(set(header)) < len(header):
        faults.add(line, 'a column of the header has no name, or two have the same')
    faults.raise_if_any()  # without a header the lines below mean nothing
    table = _Table([name for name in header if name not in ('path', 'label')], [])
    for line, text in lines:
        values = _fields(line, text, faults)
        if values is None:
            continue
        if len(values) != len(header):
            missing = f'; no value for {", ".join(header[len(values):])}' if len(values) < len(header) else ''
            faults.add(line, f'{len(values)} fields instead of the {len(header)} of the header{missing}')
            continue
        named = dict(zip(header, values, strict=True))
        path, label = named.pop('path'), named.pop('label', None)
        if label == '':
            faults.add(line, 'no value in column "label"')
        table.rows.append(_Row(line, path, label or None, named))
        _check_text(table.rows[-1], faults)
    return table


def _parse_json(data: bytes, faults: _Faults) -> _Table:
    try:
        entries = json.loads(data.decode())
    except UnicodeDecodeError as error:
        faults.add(data.count(b'\n', 0, error.start) + 1, f'byte 0x{data[error.start]:02x} on this line of text is not '
                                                          'UTF-8; save the file as UTF-8')
    except json.JSONDecodeError as error:
        faults.add(error.lineno, f'this line of text is not JSON: {error.msg} (column {error.colno})')
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; brackets nested too deep
        faults.add(1, f'is not a list of videos: {error}')
    faults.raise_if_any()
    if not isinstance(entries, list):
        faults.add(1, 'is not a list; expected [{"name": ..., "label": ...}, ...]')
        faults.raise_if_any()
    objects = [entry for entry in entries if isinstance(entry, dict)]
    labelled = any('label' in entry for entry in objects)
    columns = {key: '' for entry in objects for key in entry if key not in ('label', _path_key(entry))}
    table = _Table(list(columns), [])
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or not isinstance(entry.get(_path_key(entry)), str):
            faults.add(number, 'is not an object with a text "name" or "path"')
            continue
        values = {key: _json_text(key, entry[key], number, faults) for key in columns if key in entry}
        label = _json_label(entry, number, faults) if labelled else None
        table.rows.append(_Row(number, entry[_path_key(entry)].strip(_BLANK), label, columns | values))
        _check_text(table.rows[-1], faults)
    return table


def _path_key(entry: Mapping[str, Any]) -> str:
    return 'path' if 'path' in entry else 'name'


def _json_text(key: str, value: Any, number: int, faults: _Faults) -> str:
    if isinstance(value, str):
        return value.strip(_BLANK)
    if value is None or isinstance(value, bool | int | float):
        return '' if value is None else json.dumps(value)
    faults.add(number, f'the value of {_quoted(key)} is neither text nor a number')
    return ''


def _json_label(entry: Mapping[str, Any], number: int, faults: _Faults) -> str | None:
    if 'label' not in entry:
        faults.add(number, 'no "label", though other entries have one')
    elif type(entry['label']) is not int:  # a bool is an int to isinstance
        faults.add(number, f'label {_quoted(entry["label"])} is not an integer')
    else:
        return str(entry['label'])
    return None


_PARSERS = {'.csv': _parse_csv, '.json': _parse_json}


def _check_text(row: _Row, faults: _Faults) -> None:
    for value in (row.path, row.label or '', *row.columns.values()):
        found = _UNPRINTABLE.search(value)
        if found:
            faults.add(row.line, f'{_quoted(value)} contains the character U+{ord(found[0]):04X}')


def _below_root(row: _Row, root: Path | str, extension: str, faults: _Faults) -> str:
    fault = _path_fault(row.path, root)
    if fault:
        faults.add(row.line, fault)
        return ''
    return '/'.join(part for part in row.path.split('/') if part not in ('', '.')) + extension


def _path_fault(path: str, root: Path | str) -> str | None:
    parts = re.split(r'[/\\]', path)
    if _ABSOLUTE.match(path):
        return f'path {_quoted(path)} is absolute; write it relative to the data root {root}'
    if '..' in parts:
        return f'path {_quoted(path)} contains ".."; every video must lie below the data root {root}'
    return 'the path is empty' if set(parts) <= {'', '.'} else None


def _number_labels(rows: list[_Row], base: int, num_classes: int | None, faults: _Faults) -> dict[int, int]:
    """Returns line -> label from 0 on, for the rows that have a usable label."""
    labelled = [(row.line, row.label) for row in rows if row.label is not None]
    numbers = [(line, label) for line, label in labelled if _INTEGER.fullmatch(label)]
    names = [(line, label) for line, label in labelled if not _is_number(label)]
    for line, label in labelled:
        if _is_number(label) and not _INTEGER.fullmatch(label):
            faults.add(line, f'label {_quoted(label)} is not an integer')
    if names and numbers:
        few, many = (names, numbers) if len(names) <= len(numbers) else (numbers, names)
        what = 'not an integer' if few is names else 'not a class name'
        for line, label in few:
            faults.add(line, f'label {_quoted(label)} is {what} as {_quoted(many[0][1])} on line {many[0][0]} is; '
                             'use one kind in the whole file')
    if len(names) > len(numbers):
        return _class_numbers(names, num_classes, faults)
    last = MAX_LABEL if num_classes is None else base + num_classes - 1
    labels = {}
    for line, text in numbers:
        value = int(text) if len(text) <= 12 else MAX_LABEL + 1  # int() refuses thousands of digits
        if not base <= value <= last:
            faults.add(line, f'label {_quoted(text)} is outside {base}..{last} '
                             f'(label_base={base}, num_classes={num_classes})')
        labels[line] = value - base
    return labels


def _class_numbers(names: list[tuple[int, str]], num_classes: int | None, faults: _Faults) -> dict[int, int]:
    known = {name: number for number, name in enumerate(sorted({name for _, name in names}))}
    for line, name in names:
        if num_classes is not None and known[name] >= num_classes:
            faults.add(line, f'label {_quoted(name)} is class {known[name]} of 0..{num_classes - 1}: the file has '
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
        there = ', '.join(f'{_quoted(name)} ({count})' for name, count in sorted(counts.items())[:SHOWN_FAULTS])
        raise DataListError(f'{file}: no rows with {split!r} in column {column!r}; there are: {there}')
    return selected


def _quoted(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f'{text[:76]}...{text[-1]}'
