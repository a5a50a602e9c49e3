"""A retrieval sheet: some queries, and the gallery's videos that are nearest to them, right or wrong.

    query | 1st  2nd  3rd  4th  5th     the middle frame of each video, framed green where the class is the query's,
            0.93 0.91 0.90 0.88 0.88    red where it is not; below, the cosine similarity and the class

Queries are drawn at random by a seed, so that nobody has chosen them.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fedvssl import rng
from fedvssl.data.annotations import resolve
from fedvssl.errors import BadVideosError, ConfigError, DataListError
from fedvssl.evaluation.retrieval import NEIGHBOURS_FILE
from fedvssl.report.class_names import class_names, named
from fedvssl.report.columns import order
from fedvssl.report.results import Result, read_result
from fedvssl.report.sheet import (
    INK,
    LINE_HEIGHT,
    PANEL,
    Block,
    Color,
    Row,
    contact_sheet,
    framed,
    put_text,
    shortened,
    write_png,
)
from fedvssl.video import VideoDecodeError, open_video

logger = logging.getLogger('fedvssl')

WIDTH, HEIGHT = 144, 108  # px of a picture, into which frames of any shape are fitted
BORDER = 4  # px
RIGHT, WRONG, ASKED = (30, 160, 60), (205, 40, 40), (90, 90, 90)
MOST = 10  # neighbours that fit beside a query


@dataclass(frozen=True)
class Shown:
    """A video on the sheet."""

    path: str
    label: int
    similarity: float | None = None


@dataclass(frozen=True)
class Query:
    """A query and its neighbours, the nearest first."""

    video: Shown
    neighbours: Sequence[Shown]

    @property
    def hits(self) -> int:
        """How many neighbours are of its class."""
        return sum(neighbour.label == self.video.label for neighbour in self.neighbours)


def draw(directory: Path, file: Path, root: Path | None = None, queries: int = 8, neighbours: int = 5,
         seed: int = 0) -> None:
    """Draws the sheet of a retrieval.

    Args:
        directory: Its work directory.
        file: PNG to write.
        root: Where the videos are; by default where they were.
        queries: How many to show, or all there are.
        neighbours: How many of each, 1 to 10, or all that the file has.
        seed: Which queries.

    Raises:
        ConfigError: If a number is out of range.
        DataListError: If the result is missing or unusable.
        BadVideosError: If no video can be read.
        StorageError: If the PNG cannot be written.
    """
    if queries < 1:
        raise ConfigError(f'--queries: must be at least 1, not {queries}')
    if not 1 <= neighbours <= MOST:
        raise ConfigError(f'--neighbours: must be 1 to {MOST}, which fit into a row, not {neighbours}')
    result = read_result(directory)
    found = read_neighbours(directory)
    drawn = rng.generator(seed, 'retrieval-sheet').permutation(len(found))[:queries]
    chosen = [Query(found[i].video, found[i].neighbours[:neighbours]) for i in sorted(drawn.tolist())]
    painter = Painter(root or Path(result.values['config']['data']['root']), class_names(result, root))
    blocks = [painter.block(query) for query in chosen]
    painter.require_some()
    write_png(file, contact_sheet(header(result, len(chosen), len(found), seed), blocks))


def read_neighbours(directory: Path) -> list[Query]:
    """Reads the queries of a retrieval and what was found.

    Raises:
        DataListError: If the file is missing or damaged.
    """
    file = directory / NEIGHBOURS_FILE
    try:
        entries = json.loads(file.read_text())['queries']
        queries = [Query(_shown(entry), [_shown(neighbour) for neighbour in entry['neighbours']]) for entry in entries]
        if not all(query.neighbours for query in queries) or not queries:
            raise ValueError('a query has no neighbour')
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataListError(f'{file}: cannot be used ({type(error).__name__}: {error}); evaluate.py retrieval writes '
                            f'it beside its result') from error
    return queries


def _shown(entry: Mapping[str, Any]) -> Shown:
    similarity = entry.get('similarity')
    return Shown(str(entry['path']), int(entry['label']), None if similarity is None else float(similarity))


def header(result: Result, shown: int, queries: int, seed: int) -> list[str]:
    """Returns what stands above the sheet."""
    recalls = [f'R@{name.removeprefix("recall")} {100 * result.measured[name]:.1f} %'
               for name in sorted(result.measured, key=order)]
    return [f'retrieval, protocol {result.protocol["name"]}, seed {result.seed}: {", ".join(recalls)}',
            f'{shown} of {queries} queries, drawn at random (seed {seed}); the first picture is the query, the others '
            f'its nearest neighbours, nearest first',
            'Middle frame of each video. Green: of the same class, red: of another. Below: cosine similarity, class.']


class Painter:
    """Makes pictures of videos.

    Args:
        root: Where the videos are.
        names: Names of classes, by number.
    """

    def __init__(self, root: Path, names: Mapping[int, str]) -> None:
        self.root, self.names = root, names
        self.unreadable: list[str] = []
        self._drawn = 0

    def block(self, query: Query) -> Block:
        """Returns a query's part of the sheet."""
        label = query.video.label
        tiles = [self.tile(query.video, ASKED)]
        tiles += [self.tile(neighbour, RIGHT if neighbour.label == label else WRONG) for neighbour in query.neighbours]
        caption = f'class {named(self.names, label)}; {query.hits} of {len(query.neighbours)} right'
        return Block(query.video.path, caption, [Row('', np.stack(tiles))])

    def tile(self, video: Shown, color: Color) -> np.ndarray:
        """Returns a framed picture with its lines of text, uint8 (H', W', 3), of the same size for every video."""
        picture = framed(self._middle_frame(video.path), BORDER, BORDER, color)
        text = np.full((2 * LINE_HEIGHT, picture.shape[1], 3), PANEL, np.uint8)
        lines = ['query' if video.similarity is None else f'{video.similarity:.3f}', named(self.names, video.label)]
        for number, line in enumerate(lines):
            put_text(text, shortened(line, text.shape[1]), 0, number * LINE_HEIGHT, INK)
        return np.concatenate([picture, text])

    def _middle_frame(self, path: str) -> np.ndarray:
        """Returns the middle frame, fitted; where there is none to be had, an empty picture that says so."""
        try:
            with open_video(resolve(self.root, path)) as video:
                frame = np.asarray(video.get([len(video) // 2]))[0]
        except VideoDecodeError as error:
            logger.warning('unreadable video: %s', error)
            self.unreadable.append(str(error))
            empty = np.full((HEIGHT, WIDTH, 3), PANEL, np.uint8)
            put_text(empty, 'unreadable', BORDER, HEIGHT // 2, INK)
            return empty
        self._drawn += 1
        return fitted(frame, WIDTH, HEIGHT)

    def require_some(self) -> None:
        """Refuses a sheet without any frame.

        Raises:
            BadVideosError: If there is none.
        """
        if not self._drawn:
            raise BadVideosError(f'{self.root}: none of the videos can be read; --data-root says where they are; first '
                                 f'reason: {self.unreadable[0]}')


def fitted(frame: np.ndarray, width: int, height: int) -> np.ndarray:
    """Returns a frame scaled to fit, its shape kept, in the middle of black.

    Args:
        frame: uint8 (H, W, 3).
        width: Of the result, px.
        height: Of the result, px.
    """
    factor = min(width / frame.shape[1], height / frame.shape[0])
    size = max(round(frame.shape[1] * factor), 1), max(round(frame.shape[0] * factor), 1)
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_NEAREST
    scaled = cv2.resize(np.ascontiguousarray(frame), size, interpolation=method)
    canvas = np.zeros((height, width, 3), np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    canvas[top:top + size[1], left:left + size[0]] = scaled
    return canvas
