"""A map of features: t-SNE of the vectors that an evaluation kept, one point per video, coloured by class.

t-SNE keeps neighbours together; distances between groups, and their sizes, mean nothing. Vectors are scaled to length 1
first, since kNN and retrieval compare them by their angle.

Source: van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 2008, as scikit-learn has it (Barnes-Hut).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedvssl import rng
from fedvssl.commit import read_commit
from fedvssl.errors import CheckpointError, ConfigError, DataListError, suggest
from fedvssl.evaluation.feature_store import FACTS_FILE, VECTORS_FILE
from fedvssl.report.class_names import class_names, named
from fedvssl.report.columns import TASKS
from fedvssl.report.figures import new_figure, pixels_of
from fedvssl.report.results import Result, read_result
from fedvssl.report.sheet import write_png

FEWEST = 5  # videos that a map is made of
_TESTED = ('queries', 'test')  # what the evaluations call the features of the test videos
_COLORS, _MARKERS = 10, 'osD^vP*Xph8'  # a class has one of each; 110 pairs
_ALIKE = 1e-7  # standard deviation; what single precision tells apart
_ROWS = 26  # of the legend


@dataclass(frozen=True)
class Points:
    """Vectors float32 (n, d) and classes int64 (n,) of videos."""

    vectors: np.ndarray
    labels: np.ndarray


def draw(directory: Path, file: Path, features: Path, which: str | None = None, root: Path | None = None,
         perplexity: float = 30.0, seed: int = 0) -> None:
    """Draws a map of the features that an evaluation used.

    Args:
        directory: Work directory of a kNN, a retrieval or a linear probe on kept features.
        file: PNG to write.
        features: Where ``evaluate.py`` keeps features.
        which: ``queries`` or ``gallery`` (``test`` or ``train`` of a linear probe); the test videos by default.
        root: Where the list with the names of the classes is; by default where it was.
        perplexity: How many neighbours a point is to have, about.
        seed: Of the map.

    Raises:
        ConfigError: If scikit-learn is not installed, an argument is out of range, or features are not there.
        CheckpointError: If they are damaged.
        DataListError: If the result is missing or unusable, or there are too few videos.
        StorageError: If the PNG cannot be written.
    """
    require_sklearn()
    result = read_result(directory)
    which, facts = _chosen(result, which)
    points = read_points(features, str(facts.get('key', '')))
    places = tsne(points.vectors, perplexity, seed)
    used = facts.get('n', len(places))
    what = which if used == len(places) else f'{which}, {used} of which were used'  # with training.label_fraction
    write_png(file, picture(places, points.labels, class_names(result, root), _title(result, what, len(places))))


def _chosen(result: Result, which: str | None) -> tuple[str, Mapping[str, Any]]:
    """Returns the name of, and what is said about, a set of features."""
    sets = result.values.get('features')
    if not isinstance(sets, Mapping) or not all(isinstance(facts, Mapping) for facts in sets.values()):
        raise DataListError(f'{result.directory}: this evaluation kept no features; take the work directory of '
                            f'evaluate.py knn, retrieval, or linear --protocol cached')
    if which is None:
        which = next((name for name in _TESTED if name in sets), next(iter(sets), ''))
    if which not in sets:
        raise ConfigError(f'--of: {result.directory} has no features {which!r}{suggest(which, sets)}')
    return which, sets[which]


def read_points(features: Path, key: str) -> Points:
    """Reads kept features.

    Args:
        features: Directory of all of them.
        key: Digest of those that are wanted.

    Raises:
        ConfigError: If they are not there.
        CheckpointError: If they are damaged, or others.
    """
    from safetensors.numpy import load

    entry = features / f'features-{key[:24]}'
    if not key or not entry.is_dir():
        raise ConfigError(f'--features {features}: does not hold the features of this evaluation ({entry.name}); say '
                          f'where evaluate.py kept them, or evaluate once more')
    files = read_commit(entry)
    try:
        facts: dict[str, Any] = json.loads(files[FACTS_FILE])
        tensors = load(files[VECTORS_FILE])
        points = Points(tensors['vectors'], tensors['labels'])
    except (KeyError, ValueError) as error:
        raise CheckpointError(f'{entry}: cannot be read as features ({error})') from error
    if facts.get('key') != key:
        raise CheckpointError(f'{entry}: holds other features')
    return points


def tsne(vectors: np.ndarray, perplexity: float = 30.0, seed: int = 0) -> np.ndarray:
    """Returns a place in the plane for each vector; the same seed gives the same places.

    Args:
        vectors: (n, d).
        perplexity: Above 0; at most (n - 1) / 3 is taken.
        seed: Of the small noise on the first places, which are the two principal components.

    Returns:
        float32 (n, 2).

    Raises:
        ConfigError: If scikit-learn is not installed, or an argument is out of range.
        DataListError: If there are fewer than `FEWEST` vectors, or all have the same direction.
    """
    require_sklearn()
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    if not perplexity > 0:
        raise ConfigError(f'--perplexity: must be positive, not {perplexity}')
    if len(vectors) < FEWEST:
        raise DataListError(f'{len(vectors)} videos are too few for a map; it takes {FEWEST}')
    random, unit = rng.generator(seed, 'tsne'), _unit(vectors)
    # The order of sums, and with it their last bits, depends on the number of threads, and t-SNE enlarges differences.
    with threadpool_limits(1):
        start = PCA(2, svd_solver='randomized', random_state=0).fit_transform(unit)
        # As scikit-learn scales it; the noise lets other seeds tell what of a map is chance.
        start = 1e-4 * (start / start[:, 0].std() + 0.1 * random.standard_normal(start.shape))
        return TSNE(perplexity=min(perplexity, (len(vectors) - 1) / 3), init=start.astype(np.float32), n_jobs=1,
                    random_state=0).fit_transform(unit)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Returns vectors of length 1 (or 0); refuses those that are all alike, of which scikit-learn's t-SNE dies, with
    the whole process.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    spread = unit.std(axis=0, dtype=np.float64).max()
    if not spread > _ALIKE:
        raise DataListError(f'the {len(vectors)} vectors have all the same direction (standard deviation '
                            f'{spread:.1g}), so that there is nothing to map: the features have collapsed, or are not '
                            f'finite')
    return unit


def require_sklearn() -> None:
    """Checks that scikit-learn is there.

    Raises:
        ConfigError: If it is not, with what to install.
    """
    try:
        import sklearn.manifold  # noqa: F401 - it is asked for, not used
    except ImportError as error:
        raise ConfigError(f"t-SNE needs scikit-learn ({error}); install it: pip install 'fedvssl[plots]'") from error


def _title(result: Result, what: str, count: int) -> str:
    task = TASKS.get(result.task, result.task)
    return f't-SNE of {count} videos ({what}) of {task}, seed {result.seed}; distances between groups mean nothing'


def picture(places: np.ndarray, labels: np.ndarray, names: Mapping[int, str], title: str) -> np.ndarray:
    """Draws the map.

    Args:
        places: (n, 2).
        labels: Classes (n,).
        names: Names of classes, by number; a class without one is shown by its number.
        title: What stands above.

    Returns:
        RGB, uint8 (H, W, 3).
    """
    from matplotlib import colormaps

    classes = np.unique(labels).tolist()
    columns = -(-len(classes) // _ROWS)
    figure = new_figure(820 + 150 * columns, 820, 100)
    axes = figure.add_subplot()
    for number, label in enumerate(classes):
        mine = places[labels == label]
        axes.scatter(mine[:, 0], mine[:, 1], s=18, linewidths=0, color=colormaps['tab10'](number % _COLORS),
                     marker=_MARKERS[number // _COLORS % len(_MARKERS)], label=named(names, label)[:24])
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect('equal', adjustable='datalim')
    axes.set_title(title, fontsize=10)
    axes.legend(loc='center left', bbox_to_anchor=(1.0, 0.5), ncols=columns, fontsize=8, frameon=False)
    return pixels_of(figure)
