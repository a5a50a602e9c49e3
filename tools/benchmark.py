#!/usr/bin/env python
"""Measures, and writes JSON with hardware and versions.

    python tools/benchmark.py engine --config configs/demo/vcop_fedvssl.py --out engine.json
    python tools/benchmark.py transforms --out transforms.json
    python tools/benchmark.py partition --out partition.json

engine: what a client-round costs beyond its training steps, in CPU milliseconds of the client's process: decoding the
message, arming the trainer, splitting the state, writing the head, encoding the reply. The time in fsync is waiting for
the disk and is reported apart. Clients run in this process (workers=0); loading and training steps are timed and
subtracted. The same with the server's share (checks, aggregation, commit) is given per client.

transforms: what CtP's transforms cost from decoded frames to the network's input, in CPU milliseconds per clip, by
stage, in the published style and in ours, and how far our fast settings are from the faithful ones. On real videos if
FEDVSSL_DATA names their directory, else on generated pictures.

partition: what each partition scheme costs on a list of 240,000 names, in CPU seconds.
"""

import argparse
import os
import sys
from pathlib import Path

from fedvssl.cli import parse_options, run_tool


def main() -> None:
    """Reads the options and runs a benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    benchmarks = parser.add_subparsers(dest='benchmark', required=True)
    engine = benchmarks.add_parser('engine', help='overhead of a client-round')
    engine.add_argument('--config', default='configs/demo/vcop_fedvssl.py')
    engine.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE')
    engine.add_argument('--rounds', type=int, default=6, help='rounds to measure, after one to warm up')
    engine.set_defaults(run=run_engine)
    transforms = benchmarks.add_parser('transforms', help="CtP's transforms against the published style")
    transforms.add_argument('--clips', type=int, default=80, help='clips a repeat (4 MB each at the default size)')
    transforms.add_argument('--repeats', type=int, default=9)
    transforms.add_argument('--source-size', type=picture_size, default=(340, 256), metavar='WxH',
                            help='size of the decoded frames (default: 340x256)')
    transforms.set_defaults(run=run_transforms)
    partition = benchmarks.add_parser('partition', help='partition schemes on a list as long as that of Kinetics-400')
    partition.add_argument('--rows', type=int, default=240_000)
    partition.add_argument('--repeats', type=int, default=5)
    partition.set_defaults(run=run_partition)
    for benchmark in (engine, transforms, partition):
        benchmark.add_argument('--out', type=Path, required=True, help='JSON file to write')
    args = parser.parse_args()
    args.run(args)


def picture_size(text: str) -> tuple[int, int]:
    """Reads ``WxH``."""
    width, separator, height = text.partition('x')
    if not (separator and width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f'{text!r} is not of the form WxH, e.g. 340x256')
    return int(width), int(height)


def run_engine(args: argparse.Namespace) -> None:
    """Measures the overhead of a client-round."""
    from fedvssl.benchmarks.engine import measure_overhead
    from fedvssl.commit import write_json
    from fedvssl.config import check_types, load_config

    config = load_config(args.config, parse_options(args.cfg_options))
    config.section('federation')
    check_types(config)
    result = measure_overhead(config, args.rounds)
    write_json(args.out, result)
    overhead, fsync, whole = (result[key] for key in ('overhead_cpu_ms', 'fsync_cpu_ms', 'round_cpu_ms_per_client'))
    print(f'client-round beyond its steps: median {overhead["median"]:.1f} CPU-ms '
          f'({overhead["min"]:.1f} to {overhead["max"]:.1f}, n = {overhead["n"]}); '
          f'fsync apart: {fsync["median"]:.1f} CPU-ms, {result["fsync_wall_ms"]["median"]:.1f} ms elapsed; '
          f'with the server\'s share of the round, per client: median {whole["median"]:.1f} CPU-ms')


def run_transforms(args: argparse.Namespace) -> None:
    """Measures the transforms of CtP."""
    from fedvssl.benchmarks.transforms import measure_transforms
    from fedvssl.commit import write_json

    data = os.environ.get('FEDVSSL_DATA')
    result = measure_transforms(args.clips, args.repeats, args.source_size,
                                videos=Path(data) / 'video' / 'singles' if data else None)
    write_json(args.out, result)
    for name, cost in result['cpu_ms_per_clip'].items():
        line = f'{name}: median {cost["median"]:.2f} CPU-ms per clip ({cost["min"]:.2f} to {cost["max"]:.2f})'
        if name in result['times_faster_than_reference']:
            faster = result['times_faster_than_reference'][name]
            line += f', {faster["median"]:.2f} times as fast ({faster["min"]:.2f} to {faster["max"]:.2f})'
        if name in result['difference_to_faithful']:
            difference = result['difference_to_faithful'][name]
            line += f'; {difference["mean"]:.2f}/255 from faithful on average over {difference["clips"]} clips'
        print(line)
        print('  ' + ', '.join(f'{stage} {value:.2f}' for stage, value in result['stages_cpu_ms'][name].items()))


def run_partition(args: argparse.Namespace) -> None:
    """Measures the partition schemes."""
    from fedvssl.benchmarks.partition import measure_partition
    from fedvssl.commit import write_json
    from fedvssl.environment import describe_environment

    result = measure_partition(args.rows, args.repeats)
    write_json(args.out, dict(result, environment=describe_environment()))
    for scheme, seconds in result['cpu_seconds'].items():
        print(f'{scheme}: median {seconds["median"]:.2f} CPU-s ({seconds["min"]:.2f} to {seconds["max"]:.2f})')


if __name__ == '__main__':
    sys.exit(run_tool(main))
