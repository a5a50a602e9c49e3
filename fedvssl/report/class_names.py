"""What the classes of a result are called: as the list of the videos says, if it does, else their numbers.

A list names its classes by its labels, if these are texts; by a column ``class`` beside numbers (as
``scripts/prepare_folder.py`` writes it); or by the directory that all videos of a class, and no others, lie in.
"""

import logging
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path

from fedvssl.data.annotations import read_annotations
from fedvssl.data.list_files import INTEGER, Faults, read_table
from fedvssl.errors import FedVSSLError
from fedvssl.report.results import Result

logger = logging.getLogger('fedvssl')


def class_names(result: Result, root: Path | None = None) -> dict[int, str]:
    """Returns the names of the classes that a result was measured on, by number; empty if they have none.

    A warning says if the list is not there, or has changed since.

    Args:
        result: The result.
        root: Where videos and list are; by default where they were.
    """
    data = result.values['config']['data']
    file = (root or Path(data['root'])) / data['annotations']
    try:
        digest = sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        logger.warning('%s: cannot be read (%s); classes are shown by their numbers, --data-root says where it is',
                       file, error.strerror)
        return {}
    if digest != result.values['lists'].get('annotations_sha256'):
        logger.warning('%s: is not the list of this result any more; classes are shown by their numbers', file)
        return {}
    return names_in_list(file, data.get('label_base', 0))


def names_in_list(file: Path, label_base: int = 0) -> dict[int, str]:
    """Returns the names of a list's classes, by number from 0 on; empty if they have none, or the list is wrong."""
    try:
        videos = read_annotations(file, file.parent, label_base=label_base)
        texts = {row.line: row.label or '' for row in read_table(file, Faults(file)).rows}
    except FedVSSLError as error:
        logger.warning('%s; classes are shown by their numbers', error)
        return {}
    labels = [(video.label, texts[video.line]) for video in videos if not INTEGER.fullmatch(texts[video.line])]
    columns = [(video.label, video.columns.get('class', '')) for video in videos]
    return one_to_one(labels) or one_to_one(columns) or directory_names((video.label, video.path) for video in videos)


def directory_names(videos: Iterable[tuple[int, str]]) -> dict[int, str]:
    """Returns the directory of each class, given label and path of videos; empty if that does not tell them apart."""
    return one_to_one((label, Path(path).parent.name) for label, path in videos)


def one_to_one(pairs: Iterable[tuple[int, str]]) -> dict[int, str]:
    """Returns pairs as a mapping; empty if a number has two names, two numbers have one, or a name is missing."""
    names: dict[int, str] = {}
    for number, name in pairs:
        if not name or names.setdefault(number, name) != name:
            return {}
    return names if len(set(names.values())) == len(names) else {}


def named(names: Mapping[int, str], label: int) -> str:
    """Returns what to call a class: its name, or its number, counted from 0."""
    return names.get(label, str(label))
