"""The published format of a split: ``client_dist{1..N}.json``, each a list of objects ``{"name", "label"}``."""

import json
import logging
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fedvssl.commit import write_file
from fedvssl.data.annotations import read_annotations
from fedvssl.errors import DataListError, StorageError

logger = logging.getLogger('fedvssl')

_EXTENSION = re.compile(r'\.[A-Za-z][A-Za-z0-9]{1,4}$')
_FILE = re.compile(r'client_dist([1-9][0-9]*)\.json')


Entries = Sequence[dict[str, str | int]]


def write_client_lists(directory: Path | str, clients: Sequence[Entries], overwrite: bool = False) -> int:
    """Writes one file per client, byte for byte as the published scripts do (``indent=2``, no line feed at the end).

    Nothing is touched before everything is known to fit: files of another split are never mixed with these.

    Args:
        directory: Where to; made if it is not there.
        clients: Entries ``name`` and ``label`` of each client, in order.
        overwrite: Whether to replace the files of another split.

    Returns:
        How many files were written; files that already are as they should be are left alone.

    Raises:
        StorageError: If files of another split are there, or cannot be written.
    """
    directory = Path(directory)
    texts = {f'client_dist{number}.json': json.dumps(list(entries), indent=2).encode()
             for number, entries in enumerate(clients, 1)}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        there = {file.name for file in directory.iterdir() if _FILE.fullmatch(file.name)}
        changed = {name for name, text in texts.items() if name not in there or (directory / name).read_bytes() != text}
        others = sorted((changed & there) | (there - set(texts)))
        if others and not overwrite:
            raise StorageError(f'{directory}: holds another split ({len(others)} files differ, such as {others[0]}); '
                               f'choose another directory, or replace them with --overwrite')
        for name in sorted(changed):
            write_file(directory / name, texts[name])
        for name in there - set(texts):
            (directory / name).unlink()
    except OSError as error:
        raise StorageError(f'{directory}: cannot be written ({error})') from error
    return len(changed)


def read_client_lists(directory: Path | str, paths: Sequence[str]) -> list[np.ndarray]:
    """Reads the files of a split and looks their names up in an annotation list.

    Args:
        directory: Where ``client_dist1.json`` ... are, without gaps.
        paths: Paths or names of the annotation list (n,). Extensions do not count, and neither do directories, as long
            as that leaves the names distinct: `class/clip`, `class name/clip.mp4` and `clip` are the same video.

    Returns:
        Per client the positions in `paths`, in the order of its file.

    Raises:
        DataListError: If files are missing or wrong, or a client would be left with no video.
    """
    known = _positions(paths)
    parts, missing = [], 0
    for file in _files(Path(directory)):
        names = [video.path for video in read_annotations(file, directory, label_base=0)]
        found = [position for position in (_find(known, name) for name in names) if position is not None]
        if not found:
            raise DataListError(f'{file}: none of its {len(names)} videos, such as {names[0]!r}, is in the annotation '
                                f'list, which has paths such as {paths[0]!r}')
        missing += len(names) - len(found)
        parts.append(np.array(found, dtype=np.int64))
    if missing:
        logger.warning('%s: %d of %d videos that the client lists name are not in the annotation list, and are skipped',
                       directory, missing, missing + sum(map(len, parts)))
    return parts


def _files(directory: Path) -> list[Path]:
    names = [file.name for file in directory.iterdir()] if directory.is_dir() else []
    numbers = sorted(int(match[1]) for match in map(_FILE.fullmatch, names) if match)
    if not numbers:
        raise DataListError(f'{directory}: no client_dist1.json; name the directory that holds the lists of clients')
    gaps = sorted(set(range(1, numbers[-1] + 1)) - set(numbers))
    if gaps:
        raise DataListError(f'{directory}: client_dist{gaps[0]}.json is missing, though there is '
                            f'client_dist{numbers[-1]}.json')
    return [directory / f'client_dist{number}.json' for number in numbers]


def _positions(paths: Sequence[str]) -> dict[str, int]:
    """Returns where each video is, by its path and, where that is unambiguous, by its last component."""
    stems = [_stem(path) for path in paths]
    last = Counter(_last(stem) for stem in stems)
    short = {_last(stem): position for position, stem in enumerate(stems) if last[_last(stem)] == 1}
    return short | {stem: position for position, stem in enumerate(stems)}


def _find(known: dict[str, int], name: str) -> int | None:
    stem = _stem(name)
    return known.get(stem, known.get(_last(stem)))


def _last(stem: str) -> str:
    return stem.rpartition('/')[2]


def _stem(path: str) -> str:
    return _EXTENSION.sub('', path)
