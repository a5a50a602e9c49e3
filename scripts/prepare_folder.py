#!/usr/bin/env python
"""Makes an annotation list of your own videos; the directories they are in say what they are.

    python scripts/prepare_folder.py data/mine                                       # CLASS/video.mp4
    python scripts/prepare_folder.py data/mine --levels site camera label            # SITE/CAMERA/CLASS/video.mp4
    python scripts/prepare_folder.py data/mine --levels site --test-share 0.2        # no labels: pretraining only
    python scripts/prepare_folder.py data/mine --levels person label --test-share 0.2 --by person

Columns: path; with the level "label" also label (from 0, in sorted order) and class; all other levels; split. A level
makes natural clients: data.partition.type=ColumnPartitioner data.partition.column=site.

On which side of the split a video is depends on its name and --seed alone, so that adding videos moves no other; the
share is therefore met on average, in every class. With --by all videos of one person (site, ...) are on one side.
"""

import argparse
import sys
from pathlib import Path

from fedvssl.cli import run_tool
from fedvssl.errors import ConfigError


def main() -> None:
    """Reads the options and prepares."""
    from fedvssl.data.prepare import folder
    from fedvssl.data.prepare.command import add_output, unpacked
    from fedvssl.data.prepare.table import out_file

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('videos', type=Path, metavar='DIR')
    parser.add_argument('--levels', nargs='*', default=['label'], metavar='NAME',
                        help='what the directories mean, from the top (default: label)')
    parser.add_argument('--test-share', type=float, metavar='SHARE', help='share of test videos, such as 0.2')
    parser.add_argument('--by', default='', metavar='LEVEL', help='keep all videos of one value of it on one side')
    parser.add_argument('--seed', type=int, default=7, help='chooses the test videos (default: 7)')
    add_output(parser)
    args = parser.parse_args()
    if args.by and args.test_share is None:
        raise ConfigError('--by needs --test-share: it says what stays together when videos are held out')
    split = None if args.test_share is None else folder.Split(args.test_share, args.by, args.seed)
    folder.check(args.levels, split)
    out = out_file(args.out, args.videos)
    for line in unpacked(args.archives, args.videos):
        print(line, flush=True)
    for line in folder.prepare(args.videos, out, args.levels, split, args.archives):
        print(line)


if __name__ == '__main__':
    sys.exit(run_tool(main))
