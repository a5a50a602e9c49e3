#!/usr/bin/env python
"""Measures, and writes JSON with hardware and versions.

    python tools/benchmark.py engine --config configs/demo/vcop_fedvssl.py --out engine.json

engine: what a client-round costs beyond its training steps, in CPU milliseconds of the client's process: decoding the
message, arming the trainer, splitting the state, writing the head, encoding the reply. The time in fsync is waiting for
the disk and is reported apart. Clients run in this process (workers=0); loading and training steps are timed and
subtracted. The same with the server's share (checks, aggregation, commit) is given per client.
"""

import argparse
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
    engine.add_argument('--out', type=Path, required=True, help='JSON file to write')
    args = parser.parse_args()

    from fedvssl.benchmarks.engine import measure_overhead
    from fedvssl.config import check_types, load_config
    from fedvssl.state import write_json

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


if __name__ == '__main__':
    sys.exit(run_tool(main))
