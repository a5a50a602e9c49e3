#!/usr/bin/env python
"""Makes the annotation list of UCF-101 from the official lists and a directory of videos.

    python scripts/prepare_ucf101.py --lists UCF101TrainTestSplits-RecognitionTask.zip --videos data/ucf101
    python scripts/prepare_ucf101.py --lists ucfTrainTestlist --videos data/ucf101 --archives UCF101.rar

Columns: path, label (from 0), class, group (such as Archery_g08: one actor and background, 25 in each class), split1,
split2, split3 (train or test). The videos may be the .avi as published, re-encoded, zips of frames or directories of
frames. What the lists name and the directory lacks is left out, counted, and listed in annotations.missing.csv.
"""

import argparse
import sys
from pathlib import Path

from fedvssl.cli import run_tool


def main() -> None:
    """Reads the options and prepares."""
    from fedvssl.data.prepare import ucf101
    from fedvssl.data.prepare.command import add_videos, run

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--lists', type=Path, required=True, metavar='DIR|ARCHIVE',
                        help='classInd.txt, trainlist01-03.txt and testlist01-03.txt')
    add_videos(parser)
    args = parser.parse_args()
    for line in run(args, lambda: ucf101.read(args.lists)):
        print(line, flush=True)


if __name__ == '__main__':
    sys.exit(run_tool(main))
