"""Kinetics-400: the official CSV lists, and the text list behind FedVSSL's published splits.

CSV: ``label,youtube_id,time_start,time_end,split`` and perhaps more, the label a class name with blanks. Text:
``class_with_underscores/clip number``. A clip is called ``<youtube id>_<start>_<end>``, in seconds of six digits.
The text list numbers classes from 1, in an order of its own. Labels follow the list of classes that is given with it;
without one they are the positions of the sorted names, and the numbers are only checked to be one for each class.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from fedvssl.data.list_files import INTEGER, quoted
from fedvssl.data.prepare.catalogue import Catalogue, ClassList, Listed, folded, in_order, read_classes
from fedvssl.data.prepare.lists import ListFile, Problems, path_fault, read_list
from fedvssl.data.prepare.walk import split_name
from fedvssl.errors import DataListError

TITLE, CLASSES = 'Kinetics-400', 400
_SPLITS = {'train': 'train', 'val': 'val', 'validate': 'val', 'validation': 'val', 'test': 'test'}
_IN_FILE_NAME = re.compile(r'(?<![a-z])(train|val|validate|validation|test)(?![a-z])')
_NEEDED = ('label', 'youtube_id', 'time_start', 'time_end')
_ID = re.compile(r'[A-Za-z0-9_-]+')


def read(files: Sequence[Path], classes_file: Path | None = None) -> Catalogue:
    """Reads lists of one or several splits.

    Args:
        files: ``.csv`` (official) or ``.txt`` (FedVSSL). A list without a column for the split has it in its name.
        classes_file: ``number name`` or ``name`` on each line; gives the labels.

    Raises:
        DataListError: If a list is wrong; names the first 20 bad lines.
    """
    problems = Problems()
    classes = read_classes(read_list(classes_file), problems) if classes_file else None
    problems.raise_if_any(str(classes_file))
    book = _Book(classes, problems)
    for path in files:
        readers = {'.csv': _read_csv, '.txt': _read_txt}
        if path.suffix.lower() not in readers:
            raise DataListError(f'{path}: lists are .csv (official) or .txt (FedVSSL); unpack it first')
        for row in readers[path.suffix.lower()](read_list(path), problems):
            book.add(row)
    problems.raise_if_any(f'{TITLE} lists')
    if not book.rows:
        raise DataListError(f'{files[0]}: no rows; it must name at least one video')
    return book.catalogue()


class _Row(NamedTuple):
    place: str
    class_name: str
    clip: str
    split: str
    number: str | None


@dataclass
class _Book:
    """Checks rows against the classes and against each other."""

    classes: ClassList | None
    problems: Problems
    rows: dict[str, _Row] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    first_of_class: dict[str, _Row] = field(default_factory=dict)
    first_of_number: dict[str, _Row] = field(default_factory=dict)

    def add(self, row: _Row) -> None:
        """Takes a row in, or says what is wrong with it."""
        classes = self.classes
        if classes and classes.label(row.class_name) is None:
            self.problems.add(row.place, partial(classes.unknown, row.class_name))
            return
        fault = self._number_fault(row)
        if fault:
            self.problems.add(row.place, fault)
        elif row.clip in self.rows:
            first = self.rows[row.clip]
            self.problems.add(row.place, f'clip {row.clip} is already on {first.place}, as {first.split} of '
                                         f'{quoted(first.class_name)}; delete one of the lines')
        else:
            self.rows[row.clip] = row
            self.names.setdefault(folded(row.class_name), _with_blanks(row.class_name))

    def _number_fault(self, row: _Row) -> str | None:
        if row.number is None:
            return None
        if self.classes and self.classes.base is not None:
            return self.classes.number_fault(row.class_name, row.number)
        same_class = self.first_of_class.setdefault(folded(row.class_name), row)
        if same_class.number != row.number:
            return (f'class {quoted(row.class_name)} has number {row.number} here, but {same_class.number} on '
                    f'{same_class.place}; a list counts from the same number throughout')
        same_number = self.first_of_number.setdefault(row.number, row)
        if folded(same_number.class_name) != folded(row.class_name):
            return (f'number {row.number} is class {quoted(row.class_name)} here, but '
                    f'{quoted(same_number.class_name)} on {same_number.place}')
        return None

    def catalogue(self) -> Catalogue:
        """Returns all rows, in the order of the lists."""
        names = [_with_blanks(name) for name in self.classes.names] if self.classes else in_order(self.names.values())
        labels = {folded(name): label for label, name in enumerate(names)}
        videos = []
        for row in self.rows.values():
            label = labels[folded(row.class_name)]
            videos.append(Listed(row.clip, names[label], label, (row.split, row.clip),
                                 f'{row.class_name}/{row.clip}'))
        return Catalogue(TITLE, names, CLASSES, ('split', 'name'), 'split', videos)


def _with_blanks(name: str) -> str:
    return ' '.join(name.replace('_', ' ').split())


def _read_txt(file: ListFile, problems: Problems) -> Iterator[_Row]:
    split = _split_of(file.name)
    for place, text in file.lines(problems):
        fields = text.split()
        class_name, slash, name = fields[0].partition('/')
        clip = split_name(name)[0]
        fault = path_fault(fields[0])
        if not fault and (len(fields) != 2 or not INTEGER.fullmatch(fields[1])):
            fault = f'{quoted(text)}, where "class_name/clip number" was expected'
        if not fault and not (slash and _ID.fullmatch(clip)):
            fault = f'{quoted(fields[0])} is not of the form class_name/youtubeid_000012_000022'
        if fault:
            problems.add(place, fault)
        else:
            yield _Row(place, class_name, clip, split, fields[1])


def _read_csv(file: ListFile, problems: Problems) -> Iterator[_Row]:
    lines = _csv_fields(file.lines(problems), problems)
    place, header = next(lines, (file.name, []))
    missing = [name for name in _NEEDED if name not in header]
    if missing:
        problems.add(place, f'no column {", ".join(missing)} in the header; an official list begins with '
                            f'{",".join(_NEEDED)},split')
        return
    default = '' if 'split' in header else _split_of(file.name)
    for place, values in lines:
        if len(values) != len(header):
            problems.add(place, f'{len(values)} fields instead of the {len(header)} of the header')
            continue
        named = dict(zip(header, values, strict=True))
        split = default or _SPLITS.get(named['split'], '')
        fault = _csv_fault(named, split)
        if fault:
            problems.add(place, fault)
        else:
            clip = f'{named["youtube_id"]}_{int(named["time_start"]):06d}_{int(named["time_end"]):06d}'
            yield _Row(place, named['label'], clip, split, None)


def _csv_fields(lines: Iterable[tuple[str, str]], problems: Problems) -> Iterator[tuple[str, list[str]]]:
    for place, text in lines:
        try:
            yield place, [value.strip() for value in next(csv.reader([text], strict=True, skipinitialspace=True))]
        except csv.Error as error:
            problems.add(place, f'is not CSV ({error})')


def _csv_fault(named: dict[str, str], split: str) -> str | None:
    """Returns what is wrong with a row."""
    if not named['label'] or path_fault(named['label']):
        return f'label {quoted(named["label"])} is not the name of a class'
    if not _ID.fullmatch(named['youtube_id']):
        return f'youtube_id {quoted(named["youtube_id"])} is none; has a spreadsheet changed it?'
    for column in ('time_start', 'time_end'):
        if not re.fullmatch('[0-9]{1,6}', named[column]):
            return f'{column} {quoted(named[column])} is not a whole number of seconds'
    return None if split else f'split {quoted(named["split"])} is none of {", ".join(_SPLITS)}'


def _split_of(name: str) -> str:
    found = {_SPLITS[word] for word in _IN_FILE_NAME.findall(Path(name).name.lower())}
    if len(found) != 1:
        raise DataListError(f'{name}: which split is it? Rename the list so that its name contains train, val or test')
    return found.pop()
