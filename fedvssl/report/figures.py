"""Figures of matplotlib, drawn without its global state, and as arrays of pixels."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: int, height: int, dpi: int) -> 'Figure':
    """Returns an empty figure of a size in pixels, to be drawn in memory."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / dpi, height / dpi), dpi=dpi, layout='constrained')
    FigureCanvasAgg(figure)
    return figure


def pixels_of(figure: 'Figure') -> np.ndarray:
    """Draws a figure of `new_figure`; returns RGB, uint8 (H, W, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
