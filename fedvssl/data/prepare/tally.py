"""What it took to prepare videos, and how that reads."""

from dataclasses import astuple, dataclass
from typing import Self


@dataclass(frozen=True)
class Tally:
    """Counts of videos, bytes and seconds; they can be added.

    Attributes:
        good: Videos that were prepared.
        bad: Videos that could not be.
        read: Bytes of the sources of the good ones.
        passed: Bytes of the bad ones.
        written: Bytes of the new files.
        cpu: Seconds of CPU time for the good ones.
        wall: Seconds for the good ones, as if they came one after the other.
    """

    good: int = 0
    bad: int = 0
    read: int = 0
    passed: int = 0
    written: int = 0
    cpu: float = 0.0
    wall: float = 0.0

    def __add__(self, other: Self) -> Self:
        return type(self)(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))


def bytes_text(count: float) -> str:
    """Returns a number of bytes as it is read: ``'17.3 MB'``."""
    if count < 1000:
        return f'{count:.0f} bytes'
    for unit in ('kB', 'MB', 'GB'):
        count /= 1000
        if count < 1000:
            return f'{count:.1f} {unit}' if count < 100 else f'{count:.0f} {unit}'
    return f'{count / 1000:.1f} TB'


def time_text(seconds: float) -> str:
    """Returns a time as it is read: ``'42 s'``, ``'17 min'``, ``'3.5 h'``."""
    if seconds < 100:
        return f'{seconds:.0f} s'
    return f'{seconds / 60:.0f} min' if seconds < 6000 else f'{seconds / 3600:.1f} h'
