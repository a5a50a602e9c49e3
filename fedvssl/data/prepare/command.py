"""What the four scripts share: their options, and the way from a catalogue to a list."""

import argparse
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fedvssl.data.prepare.archives import unpack
from fedvssl.data.prepare.catalogue import Catalogue
from fedvssl.data.prepare.locate import locate
from fedvssl.data.prepare.table import out_file, write_catalogue


def add_output(parser: argparse.ArgumentParser) -> None:
    """Adds what all four scripts take."""
    parser.add_argument('--out', type=Path, metavar='CSV',
                        help='list to write (default: annotations.csv in the directory of videos)')
    parser.add_argument('--archives', type=Path, nargs='+', default=[], metavar='FILE',
                        help='.zip, .tar (.gz, .bz2, .xz) and .rar to be unpacked there first; can be interrupted')


def add_videos(parser: argparse.ArgumentParser) -> None:
    """Adds what the scripts of the published data sets take."""
    parser.add_argument('--videos', type=Path, required=True, metavar='DIR',
                        help='where the videos, zips or directories of frames are, in any layout')
    parser.add_argument('--prefer', default='', metavar='KIND',
                        help="where a video is there twice, take the one of this suffix, or 'frames'")
    add_output(parser)


def run(args: argparse.Namespace, read: Callable[[], Catalogue]) -> Iterator[str]:
    """Prepares a published data set, and yields the lines to print as it goes.

    Args:
        args: The options of `add_videos`.
        read: Reads the lists; before anything is unpacked.

    Raises:
        FedVSSLError: If options, lists, archives or videos are wrong, or something cannot be written.
    """
    out = out_file(args.out, args.videos)
    with _without_collector():
        catalogue = read()
    yield from unpacked(args.archives, args.videos)
    with _without_collector():
        located = locate(catalogue, args.videos, args.prefer, args.archives)
        summary = write_catalogue(catalogue, located, args.videos, out)
    yield from summary


@contextmanager
def _without_collector() -> Iterator[None]:
    """Holds the garbage collector off: it would look through a million rows again and again, and none are cyclic."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def unpacked(archives: list[Path], directory: Path) -> Iterator[str]:
    """Unpacks archives, and yields a line for each."""
    if archives:
        yield f'unpacking {len(archives)} archives into {directory}'
    yield from map(str, unpack(archives, directory))
