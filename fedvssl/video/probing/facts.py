"""What there is to know about one video file, as plain JSON values."""

from dataclasses import dataclass
from enum import StrEnum

VERSION = 1
"""To be raised whenever a probe finds out more than before, or something else: kept facts are then no longer taken."""


class Trouble(StrEnum):
    """Why a video cannot be used."""

    NONE = ''
    UNDECODABLE = 'undecodable'  # it cannot even be opened
    NO_FRAMES = 'no-frames'
    DAMAGED = 'damaged'
    MIXED_SIZES = 'mixed-sizes'
    HANGS = 'hangs'
    CRASHES = 'crashes'


@dataclass(frozen=True, slots=True)
class Facts:
    """What a probe found out.

    Attributes:
        full: Whether all frames were decoded, not only three of them.
        trouble: What makes the video useless, if anything, a `Trouble`.
        reason: The same in words.
        backend: The reader that `open_video` takes.
        frames: How many there are, exactly; 0 if that could not be found out.
        declared: How many the container says there are; 0 where it says nothing.
        hidden: Packets that an edit list hides.
        missing_bytes: How many the file lacks at its end, at least, by its own structure.
        cut_off: Whether the last packet ends with the file and not where it should.
        uneven: How far a frame is from where it would be at a constant rate, at most, in frames; 0 where that is no
            more than rounding explains, or times are not stored.
        waited: Seconds after which a probe that `HANGS` was given up.
    """

    full: bool = False
    trouble: str = Trouble.NONE
    reason: str = ''
    backend: str = ''
    frames: int = 0
    declared: int = 0
    hidden: int = 0
    missing_bytes: int = 0
    cut_off: bool = False
    uneven: float = 0.0
    waited: float = 0.0
