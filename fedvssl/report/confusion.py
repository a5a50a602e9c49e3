"""Confusion matrix of one evaluation: which classes were taken for which.

    M[i, j] = videos of class i that were taken for class j / videos of class i

Rows sum to 1, so that classes of different sizes can be compared; a class without a test video has no row of its own.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from fedvssl.errors import DataListError
from fedvssl.report.class_names import class_names, named
from fedvssl.report.columns import TASKS
from fedvssl.report.figures import new_figure, pixels_of
from fedvssl.report.results import Result, read_result
from fedvssl.report.sheet import write_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NUMBERED = 30  # classes up to which shares are written into their cells
_DPI = 100
_LONGEST_NAME = 24  # characters


def draw(directory: Path, file: Path, root: Path | None = None) -> None:
    """Draws the confusion matrix of the evaluation in a work directory.

    Args:
        directory: Work directory.
        file: PNG to write.
        root: Where the list with the names of the classes is; by default where it was.

    Raises:
        DataListError: If there is no usable result, or it does not say what was predicted.
        StorageError: If the PNG cannot be written.
    """
    result = read_result(directory)
    counts = count(result.detail('predicted'), result.detail('target'), directory)
    write_png(file, picture(counts, class_names(result, root), _title(result, counts)))


def _title(result: Result, counts: np.ndarray) -> str:
    task = TASKS.get(result.task, result.task)
    which = result.values.get('predicted_by', result.protocol['name'])  # kNN predicts in more than one way
    right, total = int(counts.trace()), int(counts.sum())
    return f'{task} ({which}), seed {result.seed}\n{right} of {total} test videos right, {100 * right / total:.1f} %'


def count(predicted: Any, target: Any, directory: Path) -> np.ndarray:
    """Returns the number of videos by class and predicted class, int64 (C, C).

    Args:
        predicted: Predicted classes, one per test video, counted from 0.
        target: True classes.
        directory: Where these come from, for the message.

    Raises:
        DataListError: If these are not two lists of class numbers of the same length.
    """
    if not (_are_classes(predicted) and _are_classes(target) and len(predicted) == len(target)):
        raise DataListError(f'{directory}: its result does not say of each test video which class it is and which was '
                            f'predicted (lists `target` and `predicted`, as finetune, linear and knn write them)')
    classes = max(predicted + target) + 1
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (target, predicted), 1)
    return counts


def _are_classes(labels: Any) -> TypeGuard[list[int]]:
    return isinstance(labels, list) and bool(labels) and all(type(label) is int and label >= 0 for label in labels)


def shares_of(counts: np.ndarray) -> np.ndarray:
    """Returns each row's shares, float64 (C, C); NaN in rows without a video."""
    totals = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)


def picture(counts: np.ndarray, names: Mapping[int, str], title: str) -> np.ndarray:
    """Draws a confusion matrix.

    Args:
        counts: Videos by class and predicted class (C, C).
        names: Names of classes, by number; a class without one is shown by its number.
        title: What stands above.

    Returns:
        RGB, uint8 (H, W, 3).
    """
    classes = len(counts)
    labels = [_short(named(names, label)) for label in range(classes)]
    cell = 15 if classes > NUMBERED else max(36, min(64, 900 // classes))  # px, so that each label has its own line
    size = 7 if classes > NUMBERED else 9  # points
    side, margin = cell * classes, 55 + size * max(map(len, labels))
    figure = new_figure(max(side + margin + 80, 480), side + margin + 55, _DPI)
    axes = figure.add_subplot()
    image = axes.imshow(np.ma.masked_invalid(shares_of(counts)), vmin=0, vmax=1, cmap='Blues', interpolation='nearest')
    axes.set_facecolor('lightgrey')  # rows without a test video
    axes.set_xticks(range(classes), labels, rotation=90, fontsize=size)
    axes.set_yticks(range(classes), labels, fontsize=size)
    axes.set_xlabel('taken for')
    axes.set_ylabel('class')
    axes.set_title(title, fontsize=10)
    if classes <= NUMBERED:
        _write_shares(axes, counts)
    figure.colorbar(image, ax=axes, label="share of the class's test videos", fraction=0.04)
    return pixels_of(figure)


def _write_shares(axes: 'Axes', counts: np.ndarray) -> None:
    """Writes shares that are not zero into their cells, in percent."""
    shares = shares_of(counts)
    for i, j in np.argwhere(counts):
        axes.text(j, i, f'{100 * shares[i, j]:.0f}', ha='center', va='center', fontsize=8,
                  color='white' if shares[i, j] > 0.5 else 'black')


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f'{name[:_LONGEST_NAME - 3]}...'
