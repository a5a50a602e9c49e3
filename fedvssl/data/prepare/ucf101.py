"""UCF-101: ``classInd.txt``, ``trainlist01.txt`` ... ``testlist03.txt``.

The lists have ``Class/v_Class_g01_c01.avi``, for training followed by the number of the class. A group, such
as ``Archery_g08``, is clips of one actor and background; each class has 25 of its own, g01 ... g25. No group is on both
sides of a split.
"""

import re
from pathlib import Path

from fedvssl.data.list_files import quoted
from fedvssl.data.prepare.catalogue import Catalogue, ClassList, Listed, read_classes
from fedvssl.data.prepare.lists import ListFile, Problems, path_fault, read_lists, require
from fedvssl.data.prepare.splits import SPLITS, SplitTable
from fedvssl.data.prepare.walk import split_name

TITLE, CLASSES = 'UCF-101', 101
_FILES = {split: [f'{part}list0{split}.txt' for part in ('train', 'test')] for split in SPLITS}
_NAMES = ['classInd.txt', *(name for names in _FILES.values() for name in names)]
_VIDEO = re.compile(r'v_(?P<group>.+_g[0-9]{2})_c[0-9]{2}')


def read(source: Path) -> Catalogue:
    """Reads the official lists.

    Args:
        source: Directory, or archive, with the seven lists.

    Raises:
        DataListError: If a list is missing or wrong; names the first 20 bad lines.
    """
    found = read_lists(source, re.compile('|'.join(map(re.escape, _NAMES))), ', '.join(_NAMES))
    require(found, _NAMES, source)
    problems = Problems()
    classes = read_classes(found['classInd.txt'], problems)
    problems.raise_if_any(found['classInd.txt'].name)  # nothing below would make sense
    table = SplitTable(problems)
    for split, names in _FILES.items():
        for part, name in zip(('train', 'test'), names, strict=True):
            _read_list(found[name], split, part, classes, table, problems)
    problems.raise_if_any(f'{TITLE} lists')
    table.check_complete(_FILES)
    problems.raise_if_any(f'{TITLE} lists')
    labels = {name: label for label, name in enumerate(classes.names)}
    videos = [Listed(name, video.class_name, labels[video.class_name], (_group(name), *video.values()),
                     video.official) for name, video in table.videos.items()]
    videos.sort(key=lambda video: (video.label, video.name))
    return Catalogue(TITLE, classes.names, CLASSES, ('group', 'split1', 'split2', 'split3'), 'split1', videos,
                     ignore_case=True)  # copies spell HandstandPushups and HandStandPushups


def _read_list(file: ListFile, split: str, part: str, classes: ClassList, table: SplitTable,
               problems: Problems) -> None:
    for place, text in file.lines(problems):
        path, *numbers = text.split()
        fault = path_fault(path) or _fault(path, numbers, part, classes)
        if fault:
            problems.add(place, fault)
            continue
        folder, _, name = path.partition('/')
        label = classes.label(folder)
        assert label is not None
        table.add(split_name(name)[0], classes.names[label], path, split, part, place)


def _fault(path: str, numbers: list[str], part: str, classes: ClassList) -> str | None:
    """Returns what is wrong with a row."""
    expected = '"Class/video.avi number"' if part == 'train' else '"Class/video.avi"'
    if len(numbers) > 1 or (part == 'train' and not numbers):
        return f'{len(numbers) + 1} fields, where {expected} was expected'
    folder, _, name = path.partition('/')
    if not _VIDEO.fullmatch(split_name(name)[0]):
        return f'{quoted(path)} is not of the form Class/v_Class_g01_c01.avi'
    if classes.label(folder) is None:
        return classes.unknown(folder)
    return classes.number_fault(folder, numbers[0]) if numbers else None


def _group(name: str) -> str:
    found = _VIDEO.fullmatch(name)
    assert found is not None
    return found['group']
