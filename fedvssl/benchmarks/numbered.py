"""Pictures that carry their number, so that anybody who decodes them can say which frame it was given."""

from collections.abc import Iterable, Iterator

import numpy as np

BITS, ROWS = 12, 2
_COLUMNS = BITS // ROWS
_PART = 6  # the cells take the upper and left part of a frame: each has a side of 1/6 and 1/12 of it


def numbered(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Writes their numbers over frames uint8 (H, W, 3), as two rows of six black or white cells."""
    for number, frame in enumerate(frames):
        high, wide = _cell(frame)
        for bit in range(BITS):
            row, column = divmod(bit, _COLUMNS)
            frame[row * high:(row + 1) * high, column * wide:(column + 1) * wide] = 255 * (number >> bit & 1)
        yield frame


def wrong_numbers(frames: np.ndarray, expected: Iterable[int]) -> int:
    """Counts the frames (T, H, W, 3) that show another number, or none that can be read."""
    return sum(_read(frame) != number for frame, number in zip(frames, expected, strict=True))


def _read(frame: np.ndarray) -> int:
    """Returns the number of a frame; -1 where a cell is neither black nor white (a blend, a grey frame)."""
    high, wide = _cell(frame)
    number = 0
    for bit in range(BITS):
        row, column = divmod(bit, _COLUMNS)
        level = frame[row * high + high // 4:(row + 1) * high - high // 4,
                      column * wide + wide // 4:(column + 1) * wide - wide // 4].mean()
        if 60 <= level <= 195:
            return -1
        number |= int(level > 195) << bit
    return number


def _cell(frame: np.ndarray) -> tuple[int, int]:
    height, width = frame.shape[:2]
    return height // _PART, width // (2 * _PART)
