#!/usr/bin/env python
"""Writes the generated video set that the demo trains on: 240 training and 400 test videos of 8 motion classes.

    python scripts/generate_videos.py --out data/demo
"""

import argparse
import sys
from pathlib import Path

from fedvssl.cli import run_tool


def main() -> None:
    """Reads the options and generates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, required=True, help='directory to write to')
    parser.add_argument('--num-train', type=int, default=240)
    parser.add_argument('--num-test', type=int, default=400)
    parser.add_argument('--seed', type=int, default=7)
    args = parser.parse_args()

    from fedvssl.data.synthetic import generate

    print(generate(args.out, args.num_train, args.num_test, args.seed))


if __name__ == '__main__':
    sys.exit(run_tool(main))
