#!/usr/bin/env python
"""Compares federated pretraining with its points of reference, over several seeds.

    python tools/compare.py configs/demo/compare.py --work-dir work_dirs/compare --jobs 2
    python tools/compare.py configs/demo/compare.py --work-dir work_dirs/compare --list

A config of configs/compare names arms (random weights, training from scratch, central pretraining, each client alone,
federations), how they are evaluated, and seeds. Each run is a job: a process of fed_train.py, train.py, finetune.py or
evaluate.py with a directory and a log of its own. The same command again does what is still to do; a job whose config
has changed is a new one. What fails is shown and costs only what needs it.

Writes table.md and table.json, at the end or when interrupted. --cfg-options go to all configs of all jobs. Exit codes:
0 ok, 1 a job failed, 2 config, 3 data list, 6 storage, 130 interrupted.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from fedvssl.cli import config_parser, parse_options, run_tool

TOOLS = Path(__file__).parent


def main() -> None:
    """Reads the options and does what is to do."""
    args = _parser().parse_args()

    from fedvssl.compare.loading import check_options, load_comparison
    from fedvssl.compare.plan import plan
    from fedvssl.compare.progress import listing, standing, summary
    from fedvssl.errors import ConfigError

    if args.jobs < 1:
        raise ConfigError(f'--jobs: must be at least 1, not {args.jobs}')
    options = parse_options(args.cfg_options)
    check_options(options, '--cfg-options')
    comparison = load_comparison(args.config).only(args.arms, args.seeds)
    work_dir = Path(args.work_dir or Path('work_dirs') / Path(args.config).stem)
    planned = plan(comparison, work_dir, options)
    position = standing(planned.jobs)
    if args.list:
        print(listing(position, planned.jobs))
    print(summary(position, args.jobs), flush=True)
    if not args.list:
        compare(comparison, planned, work_dir, args.jobs)


def _parser() -> argparse.ArgumentParser:
    parser = config_parser(__doc__)
    parser.add_argument('--seeds', type=int, nargs='+', metavar='SEED', help="instead of the config's")
    parser.add_argument('--arms', nargs='+', metavar='NAME', help='only these')
    parser.add_argument('--jobs', type=int, default=1, metavar='N', help='how many at a time (default: 1)')
    parser.add_argument('--list', action='store_true', help='show the jobs, their state and the time left, then stop')
    return parser


def compare(comparison: Any, planned: Any, work_dir: Path, parallel: int) -> None:
    """Does the jobs and writes the tables."""
    from fedvssl.compare.locking import claimed
    from fedvssl.compare.progress import standing, summary
    from fedvssl.compare.running import DONE, FAILED, ProcessRunner, run_jobs
    from fedvssl.errors import FedVSSLError

    def tell(outcome: Any) -> None:
        reason = f'  ({outcome.reason})' if outcome.reason else ''
        print(f'{outcome.state}: {outcome.job.name}{reason}')
        print(f'    {summary(standing(planned.jobs), parallel)}', flush=True)

    with claimed(work_dir) as lock:
        try:
            outcomes = run_jobs(standing(planned.jobs).todo, ProcessRunner(TOOLS, [lock]), parallel, tell)
        finally:
            table = write_tables(comparison, planned, work_dir)
    print(f'\n{table}')
    undone = [outcome for outcome in outcomes if outcome.state != DONE]
    if undone:
        failed = sum(outcome.state == FAILED for outcome in undone)
        raise FedVSSLError(f'{failed} jobs failed, and {len(undone) - failed} that need one of them were left out; '
                           f'run again when that is mended')


def write_tables(comparison: Any, planned: Any, work_dir: Path) -> str:
    """Writes table.md and table.json, and returns the former."""
    from fedvssl.commit import write_file, write_json
    from fedvssl.compare.summary import tables

    table, values = tables(comparison, planned)
    write_file(work_dir / 'table.md', f'{table}\n'.encode())
    write_json(work_dir / 'table.json', values)
    return table


if __name__ == '__main__':
    sys.exit(run_tool(main))
