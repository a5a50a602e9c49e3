#!/usr/bin/env python
"""Makes tables and pictures from the files that the other tools write.

    python tools/report.py table work_dirs/compare --against scratch --out table.md --out table.tex --out table.json
    python tools/report.py table --arm federated run-7 run-8 --arm scratch other-7 other-8
    python tools/report.py confusion work_dirs/finetune-7 --out confusion.png
    python tools/report.py retrieval-sheet work_dirs/retrieval-7 --out sheet.png
    python tools/report.py tsne work_dirs/retrieval-7 --out tsne.png
    python tools/report.py compare --first pretrained-7 pretrained-8 --second scratch-7 scratch-8 --out table.json
    python tools/report.py pretext work_dirs/demo work_dirs/demo-speed --out pretext.json

table: any evaluations, a row for each arm, mean and spread over seeds; differences from one arm with their intervals.
confusion: which classes were taken for which. retrieval-sheet: queries and their nearest neighbours. tsne: a map of
features.
compare: fine-tuning runs of two arms, paired by seed: mean, spread, difference with its 95 % intervals.
pretext: what runs of fed_train.py and train.py measured last on held-out videos.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from fedvssl.cli import run_tool


def main() -> None:
    """Reads the options and writes the table or picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest='command', required=True)
    add_table(commands)
    add_pictures(commands)
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


def add_table(commands: Any) -> None:
    """Adds the options of ``table``."""
    parser = commands.add_parser('table', help='any evaluations: a row for each arm, mean and spread over seeds')
    parser.add_argument('runs', type=Path, nargs='*', metavar='RUN',
                        help='work directory with a result.json, or one below which some lie; the arm is named after '
                             'its path without -<seed> and without the task')
    parser.add_argument('--arm', nargs='+', action='append', default=[], metavar=('NAME', 'DIR'),
                        help='runs of one arm, by a name of your own; can be repeated')
    parser.add_argument('--against', metavar='NAME', help='arm that the others are compared with, paired by seed')
    parser.add_argument('--figures', metavar='NAME,...', help='which to show, e.g. top1,recall1 (default: all)')
    parser.add_argument('--bold', action='store_true', help='set the highest mean of each column in bold')
    parser.add_argument('--mixed', action='store_true',
                        help='accept runs of different protocols or test videos in one column, with a warning')
    parser.add_argument('--out', type=Path, action='append', default=[], metavar='FILE',
                        help='file to write: .md, .tex (booktabs) or .json (all figures); can be repeated')
    parser.set_defaults(run=make_table)


def add_pictures(commands: Any) -> None:
    """Adds the options of the pictures."""
    confusion = commands.add_parser('confusion', help='confusion matrix of a finetune, linear or knn evaluation')
    confusion.set_defaults(run=draw_confusion)
    sheet = commands.add_parser('retrieval-sheet', help='some queries of a retrieval and their nearest neighbours')
    sheet.add_argument('--queries', type=int, default=8, help='how many, drawn at random (default: 8)')
    sheet.add_argument('--neighbours', type=int, default=5, help='how many of each, 1 to 10 (default: 5)')
    sheet.set_defaults(run=draw_retrieval)
    tsne = commands.add_parser('tsne', help='map of the features that evaluate.py kept (needs fedvssl[plots])')
    tsne.add_argument('--features', type=Path, default=Path('work_dirs/features'), metavar='DIR',
                      help='where evaluate.py keeps features (default: work_dirs/features)')
    tsne.add_argument('--of', metavar='NAME', help='gallery or train, for these videos instead of the test videos')
    tsne.add_argument('--perplexity', type=float, default=30.0, help='default: 30; less where there are few videos')
    tsne.set_defaults(run=draw_tsne)
    for command in (confusion, sheet, tsne):
        command.add_argument('directory', type=Path, metavar='DIR', help='work directory of the evaluation')
        command.add_argument('--out', type=Path, required=True, metavar='PNG', help='file to write')
        command.add_argument('--data-root', type=Path, help='where videos and list are (default: where they were)')
    for command in (sheet, tsne):
        command.add_argument('--seed', type=int, default=0, help='of what is drawn at random (default: 0)')


def make_table(args: argparse.Namespace) -> None:
    """Makes the comparison table."""
    from fedvssl.report.arms import gather, named_arms
    from fedvssl.report.rendering import markdown
    from fedvssl.report.table import build_table
    from fedvssl.report.writing import check_suffixes, write_table

    check_suffixes(args.out)
    table = build_table(gather(args.runs, named_arms(args.arm)), args.against, args.mixed,
                        args.figures.split(',') if args.figures else ())
    print(markdown(table, args.bold))
    for file in args.out:
        write_table(file, table, args.bold)


def draw_confusion(args: argparse.Namespace) -> None:
    """Draws a confusion matrix."""
    from fedvssl.report.confusion import draw

    draw(args.directory, args.out, args.data_root)
    print(args.out)


def draw_retrieval(args: argparse.Namespace) -> None:
    """Draws a retrieval sheet."""
    from fedvssl.report.retrieval_sheet import draw

    draw(args.directory, args.out, args.data_root, args.queries, args.neighbours, args.seed)
    print(args.out)


def draw_tsne(args: argparse.Namespace) -> None:
    """Draws a map of features."""
    from fedvssl.report.embedding import draw

    draw(args.directory, args.out, args.features, args.of, args.data_root, args.perplexity, args.seed)
    print(args.out)


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
