"""The published format of a split: ``client_dist{1..N}.json``, each a list of objects ``{"name", "label"}``."""

import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fedvssl.commit import write_file
from fedvssl.data.annotations import Video, bare_name, read_annotations
from fedvssl.data.list_files import Faults, quoted
from fedvssl.errors import DataListError, StorageError

logger = logging.getLogger('fedvssl')

_FILE = re.compile(r'client_dist([1-9][0-9]*)\.json')


Entries = Sequence[dict[str, str | int]]


def write_client_lists(directory: Path | str, clients: Sequence[Entries], overwrite: bool = False) -> int:
    """Writes one file per client, byte for byte as the published scripts do (``indent=2``, no line feed at the end).

    Nothing is touched before everything is known to fit. Of another split, nothing is left when these are written; so
    whatever an interruption leaves is no split that could be read.

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
        for name in others:
            (directory / name).unlink()
        for name in reversed(texts):  # the first file comes last: what is there before is refused for want of it
            if name in changed:
                write_file(directory / name, texts[name])
    except OSError as error:
        raise StorageError(f'{directory}: cannot be written ({error})') from error
    return len(changed)


def read_client_lists(directory: Path | str, paths: Sequence[str]) -> list[np.ndarray]:
    """Reads the files of a split and looks their names up in an annotation list.

    Args:
        directory: Where ``client_dist1.json`` ... are, without gaps.
        paths: Paths or names of the annotation list (n,). The suffix of a video does not count, blanks and underscores
            are alike, and directories may be missing at the front on either side: `class/clip` is the same video as
            `zips/class/clip.zip` and as `clip.mp4`.

    Returns:
        Per client the positions in `paths`, in the order of its file.

    Raises:
        DataListError: If files are missing or wrong, if a name could mean several videos, if a client would have a
            video twice, or none.
    """
    index = _Index(paths)
    parts, missing = [], 0
    for file in _files(Path(directory)):
        videos = read_annotations(file, directory, label_base=0)
        faults = Faults(file)
        found: dict[int, str] = {}
        for video in videos:
            position = index.find(video, faults)
            if position is not None and found.setdefault(position, video.path) != video.path:
                faults.add(video.line, f'{quoted(video.path)} and {quoted(found[position])} are both '
                                       f'{quoted(paths[position])} of the annotation list')
        faults.raise_if_any()
        if not found:
            raise DataListError(f'{file}: none of its {len(videos)} videos, such as {videos[0].path!r}, is in the '
                                f'annotation list, which has paths such as {paths[0]!r}')
        missing += len(videos) - len(found)
        parts.append(np.array(list(found), dtype=np.int64))
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


class _Index:
    """Finds the videos of an annotation list by name."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths
        self._exact = {path: position for position, path in enumerate(paths)}
        self._whole: dict[str, list[int]] = {}
        self._tails: dict[str, list[int]] = {}
        for position, path in enumerate(paths):
            whole, *tails = _tails(path)
            self._whole.setdefault(whole, []).append(position)
            for tail in tails:
                self._tails.setdefault(tail, []).append(position)

    def find(self, video: Video, faults: Faults) -> int | None:
        """Returns where a video is, None if nowhere; notes a fault if it could be several."""
        if video.path in self._exact:
            return self._exact[video.path]
        whole, *tails = _tails(video.path)
        found = self._whole.get(whole) or self._tails.get(whole) or next(
            (self._whole[tail] for tail in tails if tail in self._whole), [])
        if len(found) > 1:
            faults.add(video.line, f'{quoted(video.path)} could be {quoted(self._paths[found[0]])} or '
                                   f'{quoted(self._paths[found[1]])} of the annotation list')
        return found[0] if found else None


def _tails(path: str) -> list[str]:
    """Returns the bare name of a path, and what is left of it as directories are taken off its front."""
    parts = bare_name(path).split('/')
    return ['/'.join(parts[start:]) for start in range(len(parts))]
