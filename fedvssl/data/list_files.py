"""List files: a text from a stranger becomes a table of rows, and every bad line is reported with its number.

Nothing here knows what a path or a label means (`fedvssl.data.annotations` does). Three formats: CSV with a header
line; JSON, a list of objects with ``name`` or ``path``; and ``.txt``, ``name label`` or ``name`` on each line, as the
published lists have it. In JSON the "line" is the number of the entry, counted from 1; only a syntax error names a line
of text.
"""

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedvssl.errors import DataListError

SHOWN_FAULTS = 20

BLANK = ' \t\r\n'
INTEGER = re.compile(r'[+-]?[0-9]+')
# A control character in a value is a wrong separator or damage; a lone surrogate cannot be written in UTF-8.
UNPRINTABLE = re.compile(r'[\x00-\x1f\x7f\ud800-\udfff]')


class Faults:
    """Collects what is wrong with each line of a file, to raise it in one error."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.by_entry = file.suffix.lower() == '.json'  # what numbers count: entries, or lines of text
        self._reasons: dict[int, list[str]] = {}

    def add(self, line: int, reason: str) -> None:
        """Notes a reason against a line, counted from 1."""
        self._reasons.setdefault(line, []).append(reason)

    def raise_if_any(self) -> None:
        """Raises `DataListError` with the first bad lines, ``file:line: reason``, if there are any."""
        if not self._reasons:
            return
        count = len(self._reasons)
        shown = [self._place(line) + '; '.join(self._reasons[line]) for line in sorted(self._reasons)[:SHOWN_FAULTS]]
        more = f' (the first {SHOWN_FAULTS} are shown)' if count > SHOWN_FAULTS else ''
        raise DataListError('\n'.join([f'{self._file}: {count} bad line{"s" if count > 1 else ""}{more}', *shown]))

    def _place(self, line: int) -> str:
        return f'{self._file}: entry {line}: ' if self.by_entry else f'{self._file}:{line}: '


@dataclass(slots=True)
class Row:
    """One video as the file has it: texts, stripped of blanks.

    Attributes:
        line: Line, or entry of a JSON file, counted from 1.
        path: Path or name.
        label: Text of the label; None if there is none.
        columns: Values of all further columns.
    """

    line: int
    path: str
    label: str | None
    columns: dict[str, str]


@dataclass
class Table:
    """All rows, and the names of the further columns."""

    columns: list[str]
    rows: list[Row]


def read_table(file: Path, faults: Faults) -> Table:
    """Reads a list file; what is wrong with single lines is added to `faults`.

    Args:
        file: The list, ``.csv``, ``.json`` or ``.txt``, in UTF-8.
        faults: Gets the bad lines.

    Raises:
        DataListError: If the file cannot be read, is empty or not of a known kind, or lacks what gives its lines a
            meaning.
    """
    return _PARSERS[_checked_suffix(file)](_read(file), faults)


def _checked_suffix(file: Path) -> str:
    suffix = file.suffix.lower()
    if file.is_dir():
        raise DataListError(f'{file}: is a directory; scripts/prepare_folder.py makes a list of the videos in it')
    if suffix in ('.xz', '.gz', '.bz2', '.zip'):
        raise DataListError(f'{file}: is compressed; unpack it first')
    if suffix not in _PARSERS:
        raise DataListError(f'{file}: only .csv, .json and .txt lists are read, not '
                            f'{suffix or "files without a suffix"!r}: loading pickle or YAML can execute what is in '
                            'the file; convert it to CSV')
    return suffix


def _read(file: Path) -> bytes:
    try:
        data = file.read_bytes()
    except FileNotFoundError as error:
        raise DataListError(f'{file}: no such file; check its path') from error
    except (OSError, ValueError) as error:
        raise DataListError(f'{file}: cannot be read ({error})') from error
    data = data.removeprefix(b'\xef\xbb\xbf')
    if not data.strip():
        raise DataListError(f'{file}: is empty; a CSV list has at least a header')
    return data


def decoded_lines(data: bytes) -> Iterator[tuple[int, str, str]]:
    """Yields number, text and fault (empty if there is none) of every line that is not blank."""
    for line, raw in enumerate(data.removeprefix(b'\xef\xbb\xbf').split(b'\n'), 1):
        if b'\0' in raw:
            yield line, '', 'contains a NUL byte; is this a text file in UTF-8?'
            continue
        try:
            text = raw.decode().rstrip(BLANK)
        except UnicodeDecodeError as error:
            yield line, '', (f'byte 0x{raw[error.start]:02x} at position {error.start + 1} is not UTF-8; save the file '
                             'as UTF-8')
            continue
        if text.strip():
            yield line, text, ''


def _text_lines(data: bytes, faults: Faults) -> Iterator[tuple[int, str]]:
    for line, text, fault in decoded_lines(data):
        if fault:
            faults.add(line, fault)
        else:
            yield line, text


def _fields(line: int, text: str, faults: Faults) -> list[str] | None:
    # One physical line at a time: no value holds a line break, and an open quote cannot swallow the rest of the file.
    try:
        return [value.strip(BLANK) for value in next(csv.reader([text], strict=True, skipinitialspace=True))]
    except csv.Error as error:
        faults.add(line, f'is not CSV ({error})')
        return None


def _parse_csv(data: bytes, faults: Faults) -> Table:
    lines = _text_lines(data, faults)
    line, text = next(lines, (1, ''))
    header = _fields(line, text, faults) or []
    if 'path' not in header:
        faults.add(line, f'no column "path" in the header {quoted(text)}; columns are separated by commas, and their '
                         'names are spelt as here')
    if not all(header) or len(set(header)) < len(header):
        faults.add(line, 'a column of the header has no name, or two have the same')
    faults.raise_if_any()  # without a header the lines below mean nothing
    table = Table([name for name in header if name not in ('path', 'label')], [])
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
        table.rows.append(Row(line, path, label or None, named))
        _check_text(table.rows[-1], faults)
    return table


def _parse_json(data: bytes, faults: Faults) -> Table:
    faults.by_entry = False
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
    faults.by_entry = True
    objects = [entry for entry in entries if isinstance(entry, dict)]
    labelled = any('label' in entry for entry in objects)
    columns = {key: '' for entry in objects for key in entry if key not in ('label', _path_key(entry))}
    table = Table(list(columns), [])
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or not isinstance(entry.get(_path_key(entry)), str):
            faults.add(number, 'is not an object with a text "name" or "path"')
            continue
        values = {key: _json_text(key, entry[key], number, faults) for key in columns if key in entry}
        label = _json_label(entry, number, faults) if labelled else None
        table.rows.append(Row(number, entry[_path_key(entry)].strip(BLANK), label, columns | values))
        _check_text(table.rows[-1], faults)
    return table


def _path_key(entry: Mapping[str, Any]) -> str:
    return 'path' if 'path' in entry else 'name'


def _json_text(key: str, value: Any, number: int, faults: Faults) -> str:
    if isinstance(value, str):
        return value.strip(BLANK)
    if value is None or isinstance(value, bool | int | float):
        return '' if value is None else json.dumps(value)
    faults.add(number, f'the value of {quoted(key)} is neither text nor a number')
    return ''


def _json_label(entry: Mapping[str, Any], number: int, faults: Faults) -> str | None:
    if 'label' not in entry:
        faults.add(number, 'no "label", though other entries have one')
    elif type(entry['label']) is not int:  # a bool is an int to isinstance
        faults.add(number, f'label {quoted(entry["label"])} is not an integer')
    else:
        return str(entry['label'])
    return None


def _parse_txt(data: bytes, faults: Faults) -> Table:
    lines = [(line, text.split()) for line, text in _text_lines(data, faults)]
    labelled = any(len(fields) > 1 for _, fields in lines)
    table = Table([], [])
    for line, fields in lines:
        if len(fields) > 2:
            faults.add(line, f'{len(fields)} fields instead of "name label"; names with blanks need a CSV list')
            continue
        if labelled and len(fields) < 2:
            faults.add(line, f'no label after {quoted(fields[0])}, though other lines have one')
        elif labelled and not INTEGER.fullmatch(fields[1]):
            faults.add(line, f'label {quoted(fields[1])} is not an integer')
        table.rows.append(Row(line, fields[0], fields[1] if len(fields) > 1 else None, {}))
        _check_text(table.rows[-1], faults)
    return table


_PARSERS = {'.csv': _parse_csv, '.json': _parse_json, '.txt': _parse_txt}


def _check_text(row: Row, faults: Faults) -> None:
    for value in (row.path, row.label or '', *row.columns.values()):
        found = UNPRINTABLE.search(value)
        if found:
            faults.add(row.line, f'{quoted(value)} contains the character U+{ord(found[0]):04X}')


def quoted(value: object) -> str:
    """Returns a value as it goes into a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f'{text[:76]}...{text[-1]}'
