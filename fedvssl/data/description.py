"""What a sample's target means, in words and boxes, for people who look at samples (`fedvssl.report.browsing`).

Whoever makes the target says so by a method ``describe(target)``: a sampler (clip order, stride), a batch augmentation
(angle, patches), or else the model. A new pretext task thereby brings its own caption, and its own overlay.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np


@dataclass(frozen=True)
class Description:
    """What is to be said about one sample of M clips of T frames.

    Attributes:
        caption: What the target says, e.g. ``'stride -2 (class 1)'``.
        clips: A word for each clip (M), in the order in which the model gets them; empty if there is nothing to say.
        tracks: Boxes (M, K, T, 4) to be drawn into the frames, x1, y1, x2, y2 in units of the picture's shorter side
            (x2 and y2 are the first outside); None if there are none.
    """

    caption: str
    clips: tuple[str, ...] = ()
    tracks: np.ndarray | None = None


@runtime_checkable
class Describes(Protocol):
    """Anything that can tell what a target means."""

    def describe(self, target: np.ndarray) -> Description:
        """Describes the target of one sample, without batch dimension."""


def describe(target: np.ndarray, makers: Iterable[object]) -> Description:
    """Returns the words of the first of `makers` that has any; list whoever may have set the target last first."""
    for maker in makers:
        if isinstance(maker, Describes):
            return maker.describe(target)
    return Description(f'target {np.array2string(target, precision=3, threshold=8)}')
