#!/usr/bin/env python
"""Makes the annotation list of HMDB51 from the official lists and a directory of videos.

    python scripts/prepare_hmdb51.py --lists testTrainMulti_7030_splits --videos data/hmdb51
    python scripts/prepare_hmdb51.py --lists test_train_splits.rar --videos data/hmdb51 --archives hmdb51_org.rar

Columns: path, label (from 0), class, split1, split2, split3 (train, test or unused). The videos may be the .avi as
published, re-encoded, zips of frames or directories of frames. What the lists name and the directory lacks is left out,
counted, and listed in annotations.missing.csv.
"""

import argparse
import sys
from pathlib import Path

from fedvssl.cli import run_tool


def main() -> None:
    """Reads the options and prepares."""
    from fedvssl.data.prepare import hmdb51
    from fedvssl.data.prepare.command import add_videos, run

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--lists', type=Path, required=True, metavar='DIR|ARCHIVE',
                        help='the 153 files <class>_test_split<1-3>.txt')
    add_videos(parser)
    args = parser.parse_args()
    for line in run(args, lambda: hmdb51.read(args.lists)):
        print(line, flush=True)


if __name__ == '__main__':
    sys.exit(run_tool(main))
