"""HMDB51: three files for each class, ``brush_hair_test_split1.txt`` ..., of lines ``video.avi tag``.

Tag 1 is training, 2 is test, 0 is in neither (a split has 70 and 30 videos of every class). Labels are the positions of
the sorted class names; the class list that comes with some copies is in another order, and only tells whether all
classes are there.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from fedvssl.data.list_files import quoted
from fedvssl.data.prepare.catalogue import Catalogue, Listed, folded, in_order, read_classes
from fedvssl.data.prepare.lists import ListFile, Problems, path_fault, read_lists, require
from fedvssl.data.prepare.splits import SPLITS, SplitTable
from fedvssl.data.prepare.walk import split_name

TITLE, CLASSES = 'HMDB51', 51
_PARTS = {'0': 'unused', '1': 'train', '2': 'test'}
_LIST = re.compile(r'(?P<class>.+)_test_split(?P<split>[123])\.txt')
_CLASS_LIST = 'class_list.txt'


def read(source: Path) -> Catalogue:
    """Reads the official lists.

    Args:
        source: Directory, or archive, with the lists.

    Raises:
        DataListError: If a list is missing or wrong; names the first 20 bad lines.
    """
    found = read_lists(source, re.compile(f'{_LIST.pattern}|{re.escape(_CLASS_LIST)}'),
                       'brush_hair_test_split1.txt and the others: one for each class and split (153)')
    class_list = found.pop(_CLASS_LIST, None)
    classes = in_order(match['class'] for match in map(_LIST.fullmatch, found) if match)
    files = {(name, split): f'{name}_test_split{split}.txt' for name in classes for split in SPLITS}
    require(found, list(files.values()), source)
    problems = Problems()
    if class_list is not None:
        _compare(classes, class_list, problems)
    table = SplitTable(problems)
    for (name, split), file in files.items():
        _read_list(found[file], name, split, table, problems)
    problems.raise_if_any(f'{TITLE} lists')
    table.check_complete({split: [f'<class>_test_split{split}.txt'] for split in SPLITS})
    problems.raise_if_any(f'{TITLE} lists')
    return Catalogue(TITLE, classes, CLASSES, ('split1', 'split2', 'split3'), 'split1', _listed(classes, table))


def _listed(classes: list[str], table: SplitTable) -> list[Listed]:
    labels: Mapping[str, int] = {name: label for label, name in enumerate(classes)}
    videos = [Listed(name, video.class_name, labels[video.class_name], video.values(),
                     f'{video.class_name}/{video.official}') for name, video in table.videos.items()]
    return sorted(videos, key=lambda video: (video.label, video.name))


def _compare(classes: list[str], class_list: ListFile, problems: Problems) -> None:
    """Reports the classes that are in the class list or in the names of the split files, and not in both."""
    declared = {folded(name) for name in read_classes(class_list, problems).names}
    there = {folded(name) for name in classes}
    for name in sorted(declared ^ there):
        where = 'has no split files' if name in declared else f'is not in {_CLASS_LIST}'
        problems.add(class_list.name, f'class {quoted(name.replace(" ", "_"))} {where}; take both from one source')


def _read_list(file: ListFile, class_name: str, split: str, table: SplitTable, problems: Problems) -> None:
    for place, text in file.lines(problems):
        fields = text.split()
        fault = path_fault(fields[0]) or _fault(fields)
        if fault:
            problems.add(place, fault)
        else:
            table.add(split_name(fields[0])[0], class_name, fields[0], split, _PARTS[fields[1]], place)


def _fault(fields: list[str]) -> str | None:
    """Returns what is wrong with a row."""
    if len(fields) != 2:
        return f'{len(fields)} fields, where "video.avi tag" was expected'
    if '/' in fields[0]:
        return f'{quoted(fields[0])} is a path, where the name of a video was expected'
    if fields[1] not in _PARTS:
        return f'tag {quoted(fields[1])} is none of 0 (unused), 1 (train), 2 (test)'
    return None
