"""A contact sheet of clips: drawing only, on arrays; `fedvssl.report.browsing` says what is on it.

    header                         config, split, seed, geometry
    caption                        one block per sample
    label  frame frame frame ...   one row per clip; time runs from left to right

Frames are enlarged by a whole factor, each pixel to a square, and never shrunk or smoothed: what is seen is what there
is.
"""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fedvssl.errors import StorageError

MAX_WIDTH, MIN_WIDTH = 1920, 640  # px; 16 frames of 112 px, as published, fit side by side
SMALLEST_TILE, LARGEST_TILE = 56, 128  # px that enlarging aims at: at least, and not beyond
MARGIN, PAD, GAP = 8, 8, 3  # px around the sheet and between blocks, inside a block, between frames

FONT, FONT_SCALE, LINE_HEIGHT = cv2.FONT_HERSHEY_SIMPLEX, 0.45, 18
Color = tuple[int, int, int]  # RGB
PAPER, PANEL, INK, FAINT = (255, 255, 255), (232, 234, 238), (20, 20, 20), (105, 105, 105)
TRACK_COLORS: Sequence[Color] = ((255, 225, 0), (0, 220, 255), (255, 70, 215), (80, 240, 80), (255, 140, 40),
                                 (160, 140, 255))


@dataclass(frozen=True)
class Row:
    """One clip: what stands before it, frames uint8 (T, H, W, 3), boxes (K, T, 4) in pixels to be drawn, or None."""

    label: str
    frames: np.ndarray
    boxes: np.ndarray | None = None


@dataclass(frozen=True)
class Block:
    """One sample: its name, what is to be said about it, and its rows."""

    name: str
    caption: str
    rows: Sequence[Row]


@dataclass(frozen=True)
class Layout:
    """Which frames of a row are shown, and how many times enlarged."""

    frames: range
    factor: int


def lay_out(num_frames: int, height: int, width: int, room: int) -> Layout:
    """Fits the frames of a clip into a row.

    All frames are shown if they fit, enlarged as far as `LARGEST_TILE` and the room allow; if they do not, every n-th
    is, at the factor that brings their shorter side to `SMALLEST_TILE`.

    Args:
        num_frames: Frames of the clip, T.
        height: Of a frame, px.
        width: Of a frame, px.
        room: Width of the row, px.
    """
    smallest, largest = -(-SMALLEST_TILE // min(height, width)), LARGEST_TILE // max(height, width)
    for factor in range(largest, smallest, -1):
        if _columns(width * factor, room) >= num_frames:
            return Layout(range(num_frames), factor)
    return Layout(range(0, num_frames, -(-num_frames // _columns(width * smallest, room))), smallest)


def _columns(width: int, room: int) -> int:
    return max((room + GAP) // (width + GAP), 1)


def contact_sheet(header: Sequence[str], blocks: Sequence[Block]) -> np.ndarray:
    """Draws the sheet.

    Args:
        header: Lines on top; those that are too long are broken.
        blocks: What comes below.

    Returns:
        RGB, uint8 (H, W, 3).
    """
    labels = [row.label for block in blocks for row in block.rows]
    gutter = max((text_width(label) + PAD for label in labels if label), default=0)
    room = MAX_WIDTH - 2 * MARGIN - 2 * PAD - gutter
    layouts = [[_lay_out(row, room) for row in block.rows] for block in blocks]
    widths = [_row_width(row, layout) for block, block_layouts in zip(blocks, layouts, strict=True)
              for row, layout in zip(block.rows, block_layouts, strict=True)]
    inner = max(gutter + max(widths, default=0), MIN_WIDTH - 2 * MARGIN - 2 * PAD)
    parts = [_text_panel(header, inner)]
    parts += [_block_panel(block, block_layouts, gutter, inner)
              for block, block_layouts in zip(blocks, layouts, strict=True)]
    space = np.full((MARGIN, parts[0].shape[1], 3), PAPER, np.uint8)
    column = np.concatenate([space, *(array for part in parts for array in (part, space))])
    return framed(column, 0, MARGIN, PAPER)


def _lay_out(row: Row, room: int) -> Layout:
    num_frames, height, width = row.frames.shape[:3]
    return lay_out(num_frames, height, width, room)


def _row_width(row: Row, layout: Layout) -> int:
    return len(layout.frames) * (row.frames.shape[2] * layout.factor + GAP) - GAP


def _text_panel(lines: Sequence[str], inner: int) -> np.ndarray:
    """Returns the header: its first line in ink, the others fainter."""
    rows = [_text_row(part, inner, INK if number == 0 else FAINT, PAPER)
            for number, line in enumerate(lines) for part in wrapped(line, inner)]
    return framed(np.concatenate(rows), 0, PAD, PAPER)


def _block_panel(block: Block, layouts: Sequence[Layout], gutter: int, inner: int) -> np.ndarray:
    """Returns one sample's panel."""
    rows = _caption_rows(block, layouts, inner)
    for row, layout in zip(block.rows, layouts, strict=True):
        tiles = draw_row(row, layout)
        canvas = np.full((tiles.shape[0] + GAP, inner, 3), PANEL, np.uint8)
        canvas[GAP:, gutter:gutter + tiles.shape[1]] = tiles
        put_text(canvas, row.label, 0, GAP + (tiles.shape[0] - LINE_HEIGHT) // 2, INK)
        rows.append(canvas)
    return framed(np.concatenate(rows), PAD, PAD, PANEL)


def _caption_rows(block: Block, layouts: Sequence[Layout], inner: int) -> list[np.ndarray]:
    """Returns the name (faint), then the caption and, where frames are left out, which ones are shown."""
    subsets = {(layout.frames.step, row.frames.shape[0]) for row, layout in zip(block.rows, layouts, strict=True)}
    notes = [f'showing frames 0, {step}, {2 * step}, ... of {total}' for step, total in sorted(subsets) if step > 1]
    lines = [(line, FAINT) for line in wrapped(block.name, inner)]
    lines += [(line, INK) for line in wrapped('; '.join([block.caption, *notes]), inner)]
    return [_text_row(line, inner, color, PANEL) for line, color in lines]


def draw_row(row: Row, layout: Layout) -> np.ndarray:
    """Returns the frames shown side by side, uint8 (H', W', 3), with boxes and paths if there are any."""
    tiles = [row.frames[t].repeat(layout.factor, 0).repeat(layout.factor, 1) for t in layout.frames]
    if row.boxes is not None:
        for t, tile in zip(layout.frames, tiles, strict=True):
            draw_boxes(tile, row.boxes[:, :t + 1] * layout.factor)
    gap = np.full((tiles[0].shape[0], GAP, 3), PANEL, np.uint8)
    return np.concatenate([array for tile in tiles for array in (tile, gap)][:-1], axis=1)


def draw_boxes(tile: np.ndarray, boxes: np.ndarray) -> None:
    """Draws each box's outline, inside it, and the path of its centre up to now, one colour per box.

    Args:
        tile: Picture to draw into, uint8 (H, W, 3).
        boxes: (K, t + 1, 4) of the frames up to this one, x1, y1, x2, y2 in pixels of the tile, x2 and y2 outside.
    """
    for number, track in enumerate(np.rint(boxes).astype(int)):
        color = TRACK_COLORS[number % len(TRACK_COLORS)]
        x1, y1, x2, y2 = (int(value) for value in track[-1])
        path = (track[:, :2] + track[:, 2:] - 1) // 2
        cv2.polylines(tile, [path.astype(np.int32)], False, color, 1, cv2.LINE_AA)
        cv2.circle(tile, [int(value) for value in path[-1]], 2, color, -1, cv2.LINE_AA)
        cv2.rectangle(tile, (x1, y1), (x2 - 1, y2 - 1), color, 1)


def framed(picture: np.ndarray, vertical: int, horizontal: int, color: Color) -> np.ndarray:
    """Returns the picture with a border of a colour around it."""
    height, width = picture.shape[:2]
    canvas = np.full((height + 2 * vertical, width + 2 * horizontal, 3), color, np.uint8)
    canvas[vertical:vertical + height, horizontal:horizontal + width] = picture
    return canvas


def _text_row(text: str, inner: int, color: Color, background: Color) -> np.ndarray:
    canvas = np.full((LINE_HEIGHT, inner, 3), background, np.uint8)
    put_text(canvas, text, 0, 0, color)
    return canvas


def put_text(canvas: np.ndarray, text: str, x: int, y: int, color: Color) -> None:
    """Writes one line of text, whose top is at y."""
    cv2.putText(canvas, text, (x, y + LINE_HEIGHT - 5), FONT, FONT_SCALE, color, 1, cv2.LINE_AA)


def text_width(text: str) -> int:
    """Returns the width of one line of text, px."""
    return cv2.getTextSize(text, FONT, FONT_SCALE, 1)[0][0]


def wrapped(text: str, width: int) -> list[str]:
    """Breaks text at spaces into lines of at most `width` px; a word that is longer loses its beginning."""
    lines = ['']
    for word in text.split(' '):
        longer = f'{lines[-1]} {word}' if lines[-1] else word
        if text_width(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(shortened(word, width))
    return [line for line in lines if line]


def shortened(word: str, width: int) -> str:
    """Returns a word that fits `width` px: the whole, or dots and its end, which tells a path from its neighbours."""
    if text_width(word) <= width:
        return word
    begin = next((i for i in range(1, len(word)) if text_width('...' + word[i:]) <= width), len(word))
    return '...' + word[begin:]


def write_png(file: Path, picture: np.ndarray) -> None:
    """Writes RGB uint8 (H, W, 3) as a whole or not at all.

    Raises:
        StorageError: If it cannot be written.
    """
    encoded = cv2.imencode('.png', cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
    temporary = file.with_name(f'.{file.name}.{os.getpid()}.tmp')
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(encoded.tobytes())
        temporary.replace(file)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StorageError(f'{file}: could not be written: {error.strerror or error}') from error
