"""A partition as files: ``report.json`` with its statistics, ``report.png`` with who has how much of which class."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from fedvssl.commit import write_file, write_json
from fedvssl.data.partition import Partition
from fedvssl.data.partition_statistics import class_counts, statistics


def write_partition_report(directory: Path, parts: Partition, labels: np.ndarray, about: dict[str, Any]) -> list[Path]:
    """Writes statistics and heat map of a partition.

    Args:
        directory: Where to; must be there.
        parts: Positions in the list, per client.
        labels: Class of each video of the list (n,).
        about: What made the partition, to be noted in the report.

    Returns:
        The files.
    """
    files = report_files(directory)
    write_json(files[0], dict(about, statistics=statistics(parts, labels)))
    _draw(files[1], class_counts(parts, labels))
    return files


def report_files(directory: Path) -> list[Path]:
    """Returns where the report of a split is, in the directory of its list files."""
    return [directory / 'report.json', directory / 'report.png']


def _draw(file: Path, counts: np.ndarray) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 1.5 + 7 * min(1.0, len(counts) / 60)), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(np.ma.masked_equal(counts, 0), aspect='auto', interpolation='nearest', cmap='viridis')
    axes.set(xlabel='class, in the order of the labels', ylabel='client',
             title=f'{counts.sum():,} entries of {len(counts)} clients')
    axes.set_yticks(_ticks(len(counts)), [str(tick + 1) for tick in _ticks(len(counts))])
    figure.colorbar(image, ax=axes, label='videos')
    stream = BytesIO()
    figure.savefig(stream, dpi=120, format='png')
    write_file(file, stream.getvalue())


def _ticks(count: int) -> list[int]:
    step = max(1, -(-count // 20))
    return list(range(0, count, step))
