#!/usr/bin/env python
"""Makes the annotation list of Kinetics-400 from official or FedVSSL lists and a directory of videos.

    python scripts/prepare_kinetics400.py --lists train.csv val.csv --videos data/kinetics400
    python scripts/prepare_kinetics400.py --lists train_in_official.txt val.csv --classes classInd.txt \
        --videos data/kinetics400 --archives k400_train_part_*.tar.gz

Columns: path, label (from 0), class, split (train, val or test), name (of the clip). Labels follow --classes, or else
the sorted names; FedVSSL's own numbers need its class list. The videos may be named CLASS/CLIP.mp4, CLIP.mkv,
zips/CLASS/CLIP.zip, CLASS/CLIP/RGB_frames.zip, or directories of frames CLASS/CLIP. What the lists name and the
directory lacks is left out, counted, and listed in annotations.missing.csv.
"""

import argparse
import sys
from pathlib import Path

from fedvssl.cli import run_tool


def main() -> None:
    """Reads the options and prepares."""
    from fedvssl.data.prepare import kinetics400
    from fedvssl.data.prepare.command import add_videos, run

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--lists', type=Path, nargs='+', required=True, metavar='FILE',
                        help='official .csv, or .txt of lines "class_name/clip number"')
    parser.add_argument('--classes', type=Path, metavar='FILE', help='lines "number name" or "name", which give labels')
    add_videos(parser)
    args = parser.parse_args()
    for line in run(args, lambda: kinetics400.read(args.lists, args.classes)):
        print(line, flush=True)


if __name__ == '__main__':
    sys.exit(run_tool(main))
