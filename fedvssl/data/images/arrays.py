"""A set of images as arrays."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ImageArrays:
    """Images and their labels.

    Attributes:
        pixels: uint8 (n, H, W, 3), RGB.
        labels: int64 (n,), counted from 0.
        classes: Names of the classes, in the order of the labels; may be empty.
        names: Name of each image; None where they have none.
    """

    pixels: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...] = ()
    names: tuple[str, ...] | None = None
