#!/usr/bin/env python
"""Makes tables from the files that the other tools write.

    python tools/report.py compare --first pretrained-7 pretrained-8 --second scratch-7 scratch-8 --out table.json

compare: fine-tuning runs of two arms, paired by seed: mean, spread, difference with its 95 % intervals.
"""

import argparse
import sys
from pathlib import Path

from fedvssl.cli import run_tool


def main() -> None:
    """Reads the options and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest='command', required=True)
    compare_parser = commands.add_parser('compare', help='two arms of fine-tuning runs')
    compare_parser.add_argument('--first', type=Path, nargs='+', required=True, metavar='DIR')
    compare_parser.add_argument('--second', type=Path, nargs='+', required=True, metavar='DIR')
    compare_parser.add_argument('--pretraining', type=Path, nargs='*', default=[], metavar='DIR',
                                help='federated runs whose held-out pretext accuracy is to be shown as well')
    compare_parser.add_argument('--names', nargs=2, default=('federated backbone', 'scratch'))
    compare_parser.add_argument('--out', type=Path, help='file to write: .md for the table, .json for its figures')
    args = parser.parse_args()

    from fedvssl.report.comparison import compare, pretext_accuracy, to_json, to_markdown
    from fedvssl.state import write_json

    comparison = compare(args.first, args.second)
    pretext = [pretext_accuracy(directory) for directory in args.pretraining]
    table = to_markdown(comparison, *args.names, pretext)
    print(table)
    if args.out and args.out.suffix == '.json':
        write_json(args.out, to_json(comparison, *args.names, pretext))
    elif args.out:
        args.out.write_text(table + '\n')


if __name__ == '__main__':
    sys.exit(run_tool(main))
