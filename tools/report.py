#!/usr/bin/env python
"""Makes tables from the files that the other tools write.

    python tools/report.py compare --first pretrained-7 pretrained-8 --second scratch-7 scratch-8 --out table.json
    python tools/report.py pretext work_dirs/demo work_dirs/demo-speed --out pretext.json

compare: fine-tuning runs of two arms, paired by seed: mean, spread, difference with its 95 % intervals.
pretext: what runs of fed_train.py and train.py measured last on held-out videos.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from fedvssl.cli import run_tool


def main() -> None:
    """Reads the options and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest='command', required=True)
    compare_parser = commands.add_parser('compare', help='two arms of fine-tuning runs')
    compare_parser.add_argument('--first', type=Path, nargs='+', required=True, metavar='DIR')
    compare_parser.add_argument('--second', type=Path, nargs='+', required=True, metavar='DIR')
    compare_parser.add_argument('--pretraining', type=Path, nargs='*', default=[], metavar='DIR',
                                help='pretraining runs whose held-out pretext accuracy is to be shown as well')
    compare_parser.add_argument('--names', nargs=2, default=('federated backbone', 'scratch'))
    compare_parser.set_defaults(run=compare_runs)
    pretext_parser = commands.add_parser('pretext', help='what pretraining runs measured on held-out videos')
    pretext_parser.add_argument('runs', type=Path, nargs='+', metavar='DIR')
    pretext_parser.set_defaults(run=show_pretext)
    for command in (compare_parser, pretext_parser):
        command.add_argument('--out', type=Path, help='file to write: .md for the table, .json for its figures')
    args = parser.parse_args()
    args.run(args)


def compare_runs(args: argparse.Namespace) -> None:
    """Compares two arms."""
    from fedvssl.report.comparison import compare, to_json, to_markdown
    from fedvssl.report.pretext import pretext_accuracy

    comparison = compare(args.first, args.second)
    pretext = [pretext_accuracy(directory) for directory in args.pretraining]
    write(args.out, to_markdown(comparison, *args.names, pretext), to_json(comparison, *args.names, pretext))


def show_pretext(args: argparse.Namespace) -> None:
    """Lists pretraining runs."""
    from fedvssl.report.pretext import held_out, to_markdown

    runs = [(directory.name, held_out(directory)) for directory in args.runs]
    write(args.out, to_markdown(runs), {'runs': [{'run': name, **run} for name, run in runs]})


def write(out: Path | None, table: str, figures: dict[str, Any]) -> None:
    """Prints a table and writes it, or its figures, as the file's suffix says."""
    from fedvssl.commit import write_json

    print(table)
    if out and out.suffix == '.json':
        write_json(out, figures)
    elif out:
        out.write_text(table + '\n')


if __name__ == '__main__':
    sys.exit(run_tool(main))
