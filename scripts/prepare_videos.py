#!/usr/bin/env python
"""Prepares videos for training: re-encodes each one small, so that a clip of H.264 loads ten times faster, or more.

    python scripts/prepare_videos.py data/k400 data/k400-144                  # then: data.root=data/k400-144
    python scripts/prepare_videos.py data/k400 data/k400-144 --gop 12         # half the space, a third slower to load
    python scripts/prepare_videos.py data/k400 data/k400-144 --format mjpeg   # twice the space, a quarter faster
    python scripts/prepare_videos.py data/k400 data/k400-144 --dry-run        # what would it take?

The default is H.264 of key frames only with a short side of 144: one ordinary .mp4 a video, without sound, upright, at
a constant rate, whose frame k is the source's frame k. Videos, zips and directories of frames are all taken. DST gets
the annotation list of SRC with the new names (without one: a list made of the directories), the frame indices, and
bad_videos.csv; a config then only needs another data.root. A quarantine (data.quarantine) names sources: ask the doctor
again about the prepared videos, or prepare a list without them. XviD (UCF-101, HMDB51) is cheap to decode as it is, and
gains less than a factor of two.

First a few videos are prepared, which says how long all will take and how large they will be. What is stopped goes on
when it is called again; a video that has changed since is prepared again. Exit code 4 if more videos than --max-bad
could not be prepared: the others are ready all the same.
"""

import argparse
import math
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from fedvssl.cli import run_tool

if TYPE_CHECKING:
    from fedvssl.data.prepare.tally import Tally

_LINE_EVERY_SECONDS = 60.0  # where there is no terminal


def main() -> None:
    """Reads the options and prepares."""
    from fedvssl.data.prepare.video_lists import find_lists
    from fedvssl.data.prepare.videos import Preparation
    from fedvssl.errors import ConfigError, Interrupted
    from fedvssl.video.transcoding.encoding import Encoding

    args = _parser().parse_args()
    encoding = Encoding(args.format, args.short_side, args.gop, args.quality)
    for name in ('workers', 'timeout'):
        if not 0 < getattr(args, name) < math.inf:
            raise ConfigError(f'--{name}: must be positive and finite, not {getattr(args, name):g}')
    if not 0 <= args.max_bad <= 1:
        raise ConfigError(f'--max-bad: is a share between 0 and 1, not {args.max_bad}')
    lists = find_lists(args.annotations, args.source, args.extension)
    preparation = Preparation(args.source, args.target, encoding, lists, args.workers, args.timeout)
    try:
        with preparation.workplace(args.dry_run) as place:
            for line in preparation.estimate(place):
                print(line, flush=True)
            if args.dry_run:
                return
            with _Progress() as progress:
                preparation.run(place, progress)
    except Interrupted as interruption:
        raise Interrupted('stopped; to go on, run it again with the same options') from interruption
    for line in preparation.finish():
        print(line)
    preparation.check(args.max_bad)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', type=Path, metavar='SRC', help='directory of the videos; only read')
    parser.add_argument('target', type=Path, metavar='DST', help='directory for the prepared ones')
    parser.add_argument('--annotations', type=Path, nargs='+', default=[], metavar='LIST',
                        help='prepare the videos of these lists (.csv, .json, .txt) and no others (default: '
                             'annotations.csv in SRC, or else all videos)')
    parser.add_argument('--extension', default='', metavar='.EXT', help='appended to every path of the lists')
    parser.add_argument('--format', default='h264', help='h264 (default), mjpeg or jpeg-zip')
    parser.add_argument('--short-side', type=int, default=144, metavar='PIXELS',
                        help='of the prepared videos; smaller ones stay as they are (default: 144)')
    parser.add_argument('--gop', type=int, default=1, metavar='N',
                        help='h264: a key frame every N frames (default: 1, all are)')
    parser.add_argument('--quality', type=int, metavar='Q',
                        help='h264: crf (default: 20); mjpeg: qscale (3); jpeg-zip: JPEG quality (90)')
    parser.add_argument('--workers', type=int, default=os.cpu_count() or 1, metavar='N',
                        help='videos at a time (default: all cores)')
    parser.add_argument('--timeout', type=float, default=60.0, metavar='SECONDS',
                        help='after which a video is given up of which nothing comes (default: 60)')
    parser.add_argument('--max-bad', type=float, default=0.01, metavar='SHARE',
                        help='of videos that may be bad (default: 0.01)')
    parser.add_argument('--dry-run', action='store_true', help='print the estimate, and keep nothing')
    return parser


class _Progress:
    """A bar on a terminal, a line a minute elsewhere."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn('{task.description}'), BarColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True)
        self._task = self._bar.add_task('')
        self._started = self._said = time.monotonic()

    def __call__(self, done: 'Tally', total: 'Tally') -> None:
        from fedvssl.data.prepare.tally import bytes_text, time_text

        passed = done.read + done.passed
        text = f'{done.good + done.bad:,} of {total.good:,} videos, {done.bad:,} bad, {bytes_text(done.written)}'
        self._bar.update(self._task, description=text, completed=passed, total=total.read)
        now = time.monotonic()
        if self._bar.disable and passed and now - self._said > _LINE_EVERY_SECONDS:
            self._said = now
            left = (now - self._started) * (total.read - passed) / passed
            print(f'{text}, {time_text(left)} left', file=sys.stderr, flush=True)

    def __enter__(self) -> '_Progress':
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()


if __name__ == '__main__':
    sys.exit(run_tool(main))
