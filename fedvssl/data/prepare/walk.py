"""One walk over a directory of videos: what looks like a video, and where.

A video is a file in a container format, a zip of frames, or a directory of frames. Of the latter only the first image
is looked at, so that 240,000 videos take seconds. Links are not followed: what they lead to is found where it lies, if
it lies below the directory, and may not be read if it does not. Hidden files do not count.
"""

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from fedvssl.data.annotations import VIDEO_SUFFIXES
from fedvssl.errors import DataListError

VIDEOS = VIDEO_SUFFIXES - {'.zip'}
IMAGES = ('.jpeg', '.jpg', '.png')
FRAMES = 'frames'
KINDS = VIDEO_SUFFIXES | {FRAMES}
_FRAMES_ZIP = 'RGB_frames.zip'  # CtP-Kinetics: one in the directory of each video


class Found(NamedTuple):
    """A video on disk.

    Attributes:
        folders: The directories above it, from the root of the walk down.
        name: What it is called, without suffix.
        kind: Its suffix in lower case, or `FRAMES`.
        path: Where it is, POSIX and relative to the root.
    """

    folders: tuple[str, ...]
    name: str
    kind: str
    path: str


@dataclass
class Walk:
    """What a walk met.

    Attributes:
        videos: All videos, in no particular order.
        links: The symbolic links, which were not followed.
    """

    videos: list[Found] = field(default_factory=list)
    links: list[str] = field(default_factory=list)


def split_name(name: str) -> tuple[str, str]:
    """Returns a file's name without suffix, and its kind; the whole name and '' if it is no kind of video."""
    bare, dot, suffix = name.rpartition('.')
    kind = f'.{suffix}'.lower()
    return (bare, kind) if dot and kind in KINDS else (name, '')


def walk(root: Path, may_hold_frames: Callable[[tuple[str, ...]], bool], ignore: Collection[Path] = ()) -> Walk:
    """Walks over all directories below a root.

    Args:
        root: Where to begin.
        may_hold_frames: Told the path of a directory that has images in it, whether these are the frames of a video;
            then nothing else in that directory counts.
        ignore: Files that do not count, such as the archives that were unpacked.

    Raises:
        DataListError: If a directory cannot be read.
    """
    met, ignored = Walk(), {str(path.resolve()) for path in ignore}
    resolved = root.resolve()
    pending: list[tuple[str, ...]] = [()]
    while pending:
        folders = pending.pop()
        try:
            with os.scandir(os.path.join(resolved, *folders)) as entries:  # noqa: PTH118 (240,000 of them)
                pending += _look_at(entries, folders, met, may_hold_frames, ignored)
        except OSError as error:
            raise DataListError(f'{root.joinpath(*folders)}: cannot be read ({error.strerror or error}); '
                                'check the path and its permissions') from error
    return met


def _look_at(entries: 'os._ScandirIterator[str]', folders: tuple[str, ...], met: Walk,
             may_hold_frames: Callable[[tuple[str, ...]], bool], ignored: set[str]) -> list[tuple[str, ...]]:
    """Notes what one directory holds; returns the directories in it."""
    videos, below, has_images = [], [], False
    above = '/'.join(folders) + '/' if folders else ''
    for entry in entries:
        name = entry.name
        if name.startswith('.'):
            continue
        if entry.is_symlink():
            met.links.append(above + name)
        elif entry.is_dir(follow_symlinks=False):
            below.append((*folders, name))
        else:
            stem, kind = split_name(name)
            if not kind and folders and name.lower().endswith(IMAGES):
                if may_hold_frames(folders):
                    met.videos.append(Found(folders[:-1], folders[-1], FRAMES, above[:-1]))
                    return []
                has_images = True
            if name == _FRAMES_ZIP and folders:
                videos.append(Found(folders[:-1], folders[-1], kind, above + name))
            elif kind and entry.path not in ignored:
                videos.append(Found(folders, stem, kind, above + name))
    if has_images and not videos and not below:  # nobody expected them, but frames they are
        videos.append(Found(folders[:-1], folders[-1], FRAMES, above[:-1]))
    met.videos += videos
    return below
