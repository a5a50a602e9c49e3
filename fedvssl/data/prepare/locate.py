"""Where the listed videos are on disk.

The name of a file decides, without its suffix: re-encoded videos, zips of frames and directories of frames are found
alike, in whatever directories. Where a name is there twice, the one below a directory called like the class is meant.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedvssl.data.list_files import quoted
from fedvssl.data.prepare.catalogue import Catalogue, Listed, folded
from fedvssl.data.prepare.lists import Problems
from fedvssl.data.prepare.walk import KINDS, Found, walk
from fedvssl.errors import ConfigError, DataListError, suggest


@dataclass(frozen=True)
class Located:
    """Which of the listed videos are there.

    Attributes:
        paths: Path of each video, POSIX and relative to the root, '' where it is missing; as long as the list.
        unlisted: The videos on disk that no list names.
        links: Symbolic links that were not followed.
    """

    paths: list[str]
    unlisted: list[str]
    links: list[str]


def locate(catalogue: Catalogue, root: Path, prefer: str = '', ignore: Collection[Path] = ()) -> Located:
    """Looks for all listed videos below a directory.

    Args:
        catalogue: What to look for.
        root: Where.
        prefer: Of several files of one name take the one of this kind, a suffix or ``'frames'``.
        ignore: Files that do not count.

    Raises:
        ConfigError: If `prefer` is no kind of video.
        DataListError: If there is no such directory, if not a single video is there, or if one is there twice.
    """
    if prefer and prefer not in KINDS:
        raise ConfigError(f'--prefer {prefer}: is no kind of video{suggest(prefer, KINDS)}')
    if not root.is_dir():
        raise DataListError(f'{root}: no such directory; check --videos')
    key = str.casefold if catalogue.ignore_case else str
    index: dict[str, list[Found]] = {key(video.name): [] for video in catalogue.videos}
    met = walk(root, lambda folders: key(folders[-1]) in index, ignore)
    unlisted = []
    for found in met.videos:
        if key(found.name) in index:
            index[key(found.name)].append(found)
        else:
            unlisted.append(found.path)
    problems = Problems()
    paths = [_path_of(video, index[key(video.name)], prefer, problems) for video in catalogue.videos]
    problems.raise_if_any(str(root))
    if not any(paths):
        raise DataListError(_nothing_found(catalogue.videos, root, len(met.links), sorted(unlisted)))
    return Located(paths, sorted(unlisted), sorted(met.links))


def _path_of(video: Listed, candidates: list[Found], prefer: str, problems: Problems) -> str:
    """Returns the path of a video; '' if it is missing, or there twice, which is reported."""
    if len(candidates) > 1:
        of_class = [found for found in candidates if folded(video.class_name) in map(folded, found.folders)]
        candidates = of_class or candidates
        candidates = [found for found in candidates if found.kind == prefer] or candidates
    if len(candidates) > 1:
        first, second = sorted(found.path for found in candidates)[:2]
        problems.add(video.official, f'is there as {first} and as {second}; give a narrower directory as --videos, or '
                                     'say which kind to take, e.g. --prefer .avi')
        return ''
    return candidates[0].path if candidates else ''


def _nothing_found(videos: Sequence[Listed], root: Path, links: int, unlisted: Sequence[str]) -> str:
    there = f'it holds {len(unlisted):,} others, such as {quoted(unlisted[0])}' if unlisted else 'it holds no videos'
    followed = f'; {links:,} symbolic links were not followed, give what they lead to as --videos' if links else ''
    return (f'{root}: none of the {len(videos):,} listed videos is there, such as {videos[0].official}; '
            f'{there}{followed}; check --videos, or unpack the archives with --archives')
