#!/usr/bin/env python
"""Examines a data set before a run does, or the installation.

    python tools/doctor.py data configs/demo/vcop_fedvssl.py
    python tools/doctor.py data /my/videos/list.csv --client-column site --quick
    python tools/doctor.py env

`data` looks into every file of a config's lists, or of one list: is it there, can every frame be decoded, does its
header tell the truth, is it there twice. Results are kept: the next examination only looks at what has changed. Exit
code 1 if something is an error, 0 if there are warnings only.
"""

import argparse
import math
import os
import sys
from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from fedvssl.cli import parse_options, run_tool

if TYPE_CHECKING:
    from fedvssl.data.doctor_sources import Source
    from fedvssl.findings import Finding

SHOWN = 20  # lines per kind


def main() -> None:
    """Reads the options and runs the command."""
    args = _parser().parse_args()
    code = args.command(args)
    if code:
        sys.exit(code)


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    commands = parser.add_subparsers(required=True, metavar='{data,env}')
    data = commands.add_parser('data', help='examine a data set', formatter_class=raw, description=(
        'Writes findings.csv (all findings), quarantine.csv (the videos to leave out) and the cache.'))
    data.set_defaults(command=examine_data)
    data.add_argument('source', type=Path, metavar='CONFIG|LIST', help='config file (.py) or list (.csv, .json, .txt)')
    data.add_argument('--out', type=Path, metavar='DIR',
                      help='where the files go (default: a directory below work_dirs/doctor)')
    data.add_argument('--quick', action='store_true', help='decode only the first, middle and last frame of each video')
    data.add_argument('--workers', type=int, default=os.cpu_count() or 1, metavar='N',
                      help='videos at a time (default: all cores)')
    data.add_argument('--timeout', type=float, default=60.0, metavar='SECONDS', help=(
        'after which a decoder that hangs is killed; a second more for each megabyte (default: 60)'))
    data.add_argument('--min-frames', type=int, metavar='N',
                      help='with fewer, a video is an error (default: 1 for a config, 2 for a list)')
    data.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE',
                      help='for a config: override values, e.g. data.root=/my/videos')
    lists = data.add_argument_group('for a list')
    lists.add_argument('--root', type=Path, metavar='DIR', help="where the videos are (default: the list's directory)")
    lists.add_argument('--extension', default='', metavar='.EXT', help='appended to every path, e.g. .mp4')
    lists.add_argument('--split-column', metavar='COLUMN', help='each value is a split (default: split, if there)')
    lists.add_argument('--client-column', metavar='COLUMN', help='each value is a client (default: no clients)')
    env = commands.add_parser('env', help='examine the installation')
    env.set_defaults(command=examine_installation)
    return parser


def examine_installation(args: argparse.Namespace) -> int:
    """Prints what is installed and what is wrong with it, and returns the exit code."""
    from fedvssl.findings import exit_code
    from fedvssl.installation import check_installation, describe_installation

    print(*describe_installation(), sep='\n')
    findings = check_installation()
    show(findings)
    return exit_code(findings)


def examine_data(args: argparse.Namespace) -> int:
    """Examines a data set, writes the files and returns the exit code."""
    from fedvssl.data.doctor import examine, quarantine
    from fedvssl.data.doctor_files import CACHE_FILE, write_findings, write_quarantine
    from fedvssl.data.probe_cache import ProbeCache
    from fedvssl.errors import ConfigError, Interrupted, StorageError
    from fedvssl.findings import exit_code
    from fedvssl.video.probing.probe_pool import ProbePool

    for name in ('workers', 'timeout', 'min_frames'):
        value = getattr(args, name)
        if value is not None and not 0 < value < math.inf:
            raise ConfigError(f'--{name.replace("_", "-")}: must be positive and finite, not {value:g}')
    source = _source(args)
    out: Path = args.out or Path('work_dirs/doctor', _name(args.source, source.root))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f'{out}: cannot be made: {error}') from error
    try:
        with ProbeCache(out / CACHE_FILE) as cache, _Progress() as progress:
            findings = examine(source.entries, source.root, source.needs, cache,
                               ProbePool(args.workers, args.timeout), quick=args.quick, workers=args.workers,
                               progress=progress)
    except Interrupted as interruption:
        raise Interrupted('stopped; the next examination goes on from here') from interruption
    paths = {entry.path for entry in source.entries}
    bad = quarantine(findings, paths)
    write_findings(out, findings)
    file = write_quarantine(out, {**source.left_out, **bad})
    show(findings)
    print(f'{len(paths)} videos, {len(bad)} to leave out; all findings: {out}/findings.csv')
    if bad:
        print(f'to leave them out: --cfg-options data.quarantine={file.absolute()}')
    return exit_code(findings)


def _name(source: Path, root: Path) -> str:
    """Returns a name that no other list or root has: many lists are called annotations.csv."""
    place = f'{source.resolve()}\n{root.resolve()}'
    return f'{source.stem}-{blake2b(place.encode(), digest_size=4).hexdigest()}'


def _source(args: argparse.Namespace) -> 'Source':
    from fedvssl.data.doctor_sources import from_config, from_list
    from fedvssl.errors import ConfigError

    if args.source.suffix == '.py':
        for name in ('root', 'extension', 'split_column', 'client_column'):
            if getattr(args, name):
                raise ConfigError(f'--{name.replace("_", "-")}: is for a list; a config says it itself (--cfg-options)')

        from fedvssl.config import load_config

        return from_config(load_config(args.source, parse_options(args.cfg_options)), args.min_frames or 1)
    if args.cfg_options:
        raise ConfigError(f'--cfg-options: is for a config, and {args.source} is a list')
    return from_list(args.source, args.root, split_column=args.split_column, client_column=args.client_column,
                     extension=args.extension, min_frames=args.min_frames or 2)


def show(findings: 'Sequence[Finding]') -> None:
    """Prints the first findings of each kind, and a table of how many there are."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    counts = Counter((finding.severity, finding.kind) for finding in findings)
    table = Table('severity', 'kind', 'number', box=box.SIMPLE)
    for severity, kind in sorted(counts):
        alike = [finding for finding in findings if (finding.severity, finding.kind) == (severity, kind)]
        print(*alike[:SHOWN], sep='\n')
        if len(alike) > SHOWN:
            print(f'... and {len(alike) - SHOWN} more {severity}s of this kind ({kind})')
        table.add_row(severity, kind, str(len(alike)))
    total = Counter(finding.severity for finding in findings)
    if findings:
        Console().print(table)
    print(f'{total["error"]} errors, {total["warning"]} warnings')


class _Progress:
    """A bar on a terminal, nothing elsewhere."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True)
        self._tasks: dict = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._bar.add_task(stage, total=total)
        self._bar.update(self._tasks[stage], completed=done)

    def __enter__(self) -> '_Progress':
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()


if __name__ == '__main__':
    sys.exit(run_tool(main))
