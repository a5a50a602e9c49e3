"""Which videos are to be prepared, and what they will be called: by their names alone."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fedvssl.data.annotations import VIDEO_SUFFIXES, resolve
from fedvssl.data.list_files import BLANK, UNPRINTABLE, quoted
from fedvssl.data.prepare.video_lists import VideoList
from fedvssl.data.prepare.walk import walk
from fedvssl.data.probe_cache import Signature, signature_of
from fedvssl.errors import ConfigError, DataListError

logger = logging.getLogger('fedvssl')

_FEW = 10  # examples in a message


@dataclass(frozen=True)
class Source:
    """A video to prepare.

    Attributes:
        name: Its path, POSIX and relative to the directory of sources.
        target: What it will be called, likewise relative to that of prepared videos.
        path: Where it is.
        signature: What tells that it has not changed.
    """

    name: str
    target: str
    path: Path
    signature: Signature


def check_directories(root: Path, out: Path) -> None:
    """Checks that prepared videos cannot get among the sources.

    Raises:
        ConfigError: If one of the two directories is in the other, or they are the same.
        DataListError: If there is no directory of sources.
    """
    if not root.is_dir():
        what = 'not a directory' if root.exists() else 'no such directory'
        raise DataListError(f'{root}: {what}; it must be where the videos are')
    if out.exists() and not out.is_dir():
        raise ConfigError(f'{out}: is a file; name a directory, which will be made')
    source, target = root.resolve(), out.resolve()
    if source == target or target.is_relative_to(source) or source.is_relative_to(target):
        raise ConfigError(f'{out}: must lie neither in {root} nor around it, or prepared videos would get among the '
                          'sources; choose another directory')


def names_below(root: Path) -> list[str]:
    """Returns the videos below a directory, sorted; see `walk`.

    Raises:
        DataListError: If there are none, or a directory cannot be read.
    """
    found = walk(root, lambda folders: False)
    if found.links:
        logger.warning('%s: symbolic links are not followed, and what they lead to is not prepared: %s%s', root,
                       ', '.join(map(quoted, sorted(found.links)[:_FEW])),
                       f' and {len(found.links) - _FEW} more' if len(found.links) > _FEW else '')
    names = sorted(video.path for video in found.videos)
    if not names:
        raise DataListError(f'{root}: holds no videos (video files, zips or directories of frames); check the path')
    return names


def names_in(lists: Iterable[VideoList]) -> list[str]:
    """Returns the videos of some lists, in their order, each once."""
    return list(dict.fromkeys(name for each in lists for name in each.names))


def targets(names: Sequence[str], suffix: str) -> dict[str, str]:
    """Returns what each video will be called: its name with another suffix.

    Raises:
        ConfigError: If two would be called the same.
    """
    result = {name: _renamed(name, suffix) for name in names}
    first: dict[str, str] = {}
    clashes = [f'{quoted(first[target])} and {quoted(name)} would both become {quoted(target)}'
               for name, target in result.items() if first.setdefault(target, name) != name]
    if clashes:
        more = f'\n... and {len(clashes) - _FEW} more' if len(clashes) > _FEW else ''
        raise ConfigError('\n'.join(clashes[:_FEW]) + more + '\nrename one of them, or prepare a list (--annotations) '
                                                             'that names only one')
    return result


def _renamed(name: str, suffix: str) -> str:
    path = PurePosixPath(name)
    bare = path.with_suffix('') if path.suffix.lower() in VIDEO_SUFFIXES else path
    return f'{bare}{suffix}'


def look(root: Path, named: Mapping[str, str]) -> tuple[list[Source], dict[str, str]]:
    """Looks at what is there.

    Args:
        root: Directory of the sources.
        named: Name of each video, and what it will be called.

    Returns:
        The videos, and the names of those that are missing or refused, each with the reason.
    """
    found, refused = [], {}
    for name, target in named.items():
        try:
            if UNPRINTABLE.search(name) or name != name.strip(BLANK):
                raise DataListError('no list can hold this name; rename the file')
            path = resolve(root, name)
            signature = signature_of(path)
            if signature is None:
                raise DataListError('no such file')
            found.append(Source(name, target, path, signature))
        except (DataListError, OSError) as error:
            refused[name] = str(error).removeprefix(f'{root / name}: ').removeprefix(f'{root}: ')
    return found, refused
