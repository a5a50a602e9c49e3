#!/usr/bin/env python
"""Measures, and writes JSON with hardware and versions.

    python tools/benchmark.py engine --config configs/demo/vcop_fedvssl.py --out engine.json
    python tools/benchmark.py engine --compare --out engines.json
    python tools/benchmark.py transforms --out transforms.json
    python tools/benchmark.py loader --out loader.json
    python tools/benchmark.py decoding --device cuda --threads 1 7 14 28 --out decoding.json
    python tools/benchmark.py partition --out partition.json
    python tools/benchmark.py retrieval --out retrieval.json
    python tools/benchmark.py augment --out augment.json

engine: what a client-round costs beyond its training steps, in CPU milliseconds of the client's process: decoding the
message, arming the trainer, splitting the state, writing the head, encoding the reply. The time in fsync is waiting for
the disk and is reported apart. Clients run in this process (workers=0); loading and training steps are timed and
subtracted. The same with the server's share (checks, aggregation, commit) is given per client. With --compare: the
engines, in rounds without training, against Flower's own Ray simulation; five to ten minutes, needs fedvssl[ray].

transforms: what CtP's transforms cost from decoded frames to the network's input, in CPU milliseconds per clip, by
stage, in the published style and in ours, and how far our fast settings are from the faithful ones. On real videos if
FEDVSSL_DATA names their directory, else on generated pictures.

loader: what loading a clip costs with mmaction2 on decord and with ours, in CPU milliseconds per clip, for raw videos
and prepared ones; and with CtP's zips. Every clip is checked. On real videos if FEDVSSL_DATA names their directory,
else on generated ones. All cases take about eight minutes; --cases takes some of them.

decoding: frames a second and CPU time of each backend, on the CPU or a GPU, by number of threads; on generated videos
whose frames carry their number, so that wrong ones are counted.

partition: what each partition scheme costs on a list of 240,000 names, in CPU seconds.

retrieval: the 50 nearest of 9,537 features for each of 3,783, all of 9,216 random numbers, as for UCF-101: time, CPU
time and peak memory, against torch without chunks and scikit-learn. One to five minutes; needs fedvssl[plots].

augment: views a second that SimCLR's augmentation makes of batches of 32x32 images on one thread of the CPU: ours, a
Pillow pipeline, and kornia's where it is installed (pip install --no-deps kornia kornia-rs).
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from fedvssl.cli import parse_options, run_tool
from fedvssl.errors import ConfigError


def main() -> None:
    """Reads the options and runs a benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    benchmarks = parser.add_subparsers(dest='benchmark', required=True)
    engine = benchmarks.add_parser('engine', help='overhead of a client-round')
    engine.add_argument('--config', default='configs/demo/vcop_fedvssl.py')
    engine.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE')
    engine.add_argument('--rounds', type=int, default=6, help='rounds to measure, after one to warm up')
    engine.add_argument('--compare', action='store_true', help="the engines, against Flower's Ray simulation")
    engine.add_argument('--repeats', type=int, default=3, help='runs of each engine (with --compare)')
    engine.set_defaults(run=run_engine)
    transforms = benchmarks.add_parser('transforms', help="CtP's transforms against the published style")
    transforms.add_argument('--clips', type=int, default=80, help='clips a repeat (4 MB each at the default size)')
    transforms.add_argument('--repeats', type=int, default=9)
    transforms.add_argument('--source-size', type=picture_size, default=(340, 256), metavar='WxH',
                            help='size of the decoded frames (default: 340x256)')
    transforms.set_defaults(run=run_transforms)
    loader = benchmarks.add_parser('loader', help='loading a clip: mmaction2 on decord, and ours')
    loader.add_argument('--cases', nargs='+', default=[], metavar='NAME', help='which ones; all by default')
    loader.add_argument('--clips', type=int, default=16, help='clips a repeat')
    loader.add_argument('--repeats', type=int, default=5)
    loader.add_argument('--kept-memory', action='store_true',
                        help='let each process first free a big block of memory, as one forked from a training '
                             'process may have; in favour of the others')
    loader.set_defaults(run=run_loader)
    decoding = benchmarks.add_parser('decoding', help='the backends, on the CPU or a GPU')
    decoding.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    decoding.add_argument('--backends', nargs='+', default=[], metavar='NAME', help='all that could run, by default')
    decoding.add_argument('--threads', nargs='+', type=int, default=[1], metavar='N')
    decoding.add_argument('--clips', type=int, default=64, help='clips a repeat')
    decoding.add_argument('--repeats', type=int, default=5)
    decoding.set_defaults(run=run_decoding)
    partition = benchmarks.add_parser('partition', help='partition schemes on a list as long as that of Kinetics-400')
    partition.add_argument('--rows', type=int, default=240_000)
    partition.add_argument('--repeats', type=int, default=5)
    partition.set_defaults(run=run_partition)
    retrieval = benchmarks.add_parser('retrieval', help='exact search in features like those of UCF-101')
    retrieval.add_argument('--repeats', type=int, default=3)
    retrieval.add_argument('--threads', type=int, default=os.cpu_count(), help='default: one a core')
    retrieval.set_defaults(run=run_retrieval)
    augment = benchmarks.add_parser('augment', help='image augmentation: ours, Pillow, kornia')
    augment.add_argument('--batch', type=int, default=256, help='images of a batch')
    augment.add_argument('--repeats', type=int, default=9)
    augment.set_defaults(run=run_augment)
    for benchmark in (engine, transforms, loader, decoding, partition, retrieval, augment):
        benchmark.add_argument('--out', type=Path, required=True, help='JSON file to write')
    args = parser.parse_args()
    if not args.out.absolute().parent.is_dir():
        raise ConfigError(f'--out: {args.out.parent}: no such directory')
    args.run(args)


def picture_size(text: str) -> tuple[int, int]:
    """Reads ``WxH``."""
    width, separator, height = text.partition('x')
    if not (separator and width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f'{text!r} is not of the form WxH, e.g. 340x256')
    return int(width), int(height)


def run_engine(args: argparse.Namespace) -> None:
    """Measures the overhead of a client-round, or compares the engines."""
    from fedvssl.benchmarks.engine import measure_overhead
    from fedvssl.benchmarks.peers import measure_engines
    from fedvssl.commit import write_json
    from fedvssl.config import check_types, load_config

    if args.compare:
        result = measure_engines(args.rounds + 1, args.repeats, print_engine)
        write_json(args.out, result)
        for bar in result['bars']:
            wanted = bar.get('at_most', bar.get('times_cheaper'))
            of_peer = f' of {bar["than"]} / own' if 'than' in bar else ''
            print(f'{bar["of"]}, {bar["quantity"]}{of_peer}: {bar["measured"]:.2f}, wanted {wanted:g}'
                  f'{"" if bar["met"] else ", MISSED"}')
        return
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


def print_engine(name: str, figures: dict[str, Any]) -> None:
    """Prints what one engine costs."""
    cost, start, memory = (figures[key] for key in ('round_cpu_s', 'startup_cpu_s', 'peak_memory_gb'))
    print(f'{name}: {cost["median"]:.2f} CPU-s a round ({cost["min"]:.2f} to {cost["max"]:.2f}), start-up '
          f'{start["median"]:.1f} CPU-s, peak {memory["median"]:.2f} GB')


def real_videos() -> Path | None:
    """Returns the directory of real videos, if there is one."""
    data = os.environ.get('FEDVSSL_DATA')
    return Path(data) / 'video' / 'singles' if data else None


def run_transforms(args: argparse.Namespace) -> None:
    """Measures the transforms of CtP."""
    from fedvssl.benchmarks.transforms import measure_transforms
    from fedvssl.commit import write_json

    result = measure_transforms(args.clips, args.repeats, args.source_size, videos=real_videos())
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


def run_loader(args: argparse.Namespace) -> None:
    """Measures loading."""
    from fedvssl.benchmarks.loader import measure_loader
    from fedvssl.commit import write_json

    result = measure_loader(args.cases, args.clips, args.repeats, real_videos(), kept_memory=args.kept_memory,
                            report=print_case)
    write_json(args.out, result)
    for name, facts in result['files'].items():
        print(f'{name}: {facts["bytes"]} bytes, made in {facts["cpu_seconds"]:.2f} CPU-s')


def print_case(name: str, case: dict[str, Any]) -> None:
    """Prints one case of the benchmark of loading."""
    times = ', '.join(f'{side} {cost["median"]:.2f}' for side, cost in case['cpu_ms_per_clip'].items())
    print(f'{name} ({case["title"]}): {times} CPU-ms per clip')
    for variant, faster in case['times_faster'].items():
        verdict = ''
        if variant == case['judged']:
            verdict = f'; wanted: {case["bar"]:g}{"" if case["met"] else ", MISSED"}'
        print(f'  {variant}: {faster["median"]:.2f} times as fast as {case["against"]} '
              f'({faster["min"]:.2f} to {faster["max"]:.2f}){verdict}')
    for side, wrong in case['wrong_frames'].items():
        if wrong:
            print(f'  {side}: {wrong} of {case["frames_checked"]} frames are WRONG')
    if 'known' in case:
        low, high = case['known']['cpu_ms']
        print(f'  {case["against"]}: {low:g} to {high:g} elsewhere ({case["known"]["source"]})')


def run_decoding(args: argparse.Namespace) -> None:
    """Measures the backends."""
    from fedvssl.benchmarks.decoding import measure_decoding
    from fedvssl.commit import write_json

    write_json(args.out, measure_decoding(args.device, args.backends, args.threads, args.clips, args.repeats,
                                          report=print_decoding))


def print_decoding(file: str, backend: str, result: dict[str, Any]) -> None:
    """Prints what one backend does on one file."""
    if 'error' in result:
        print(f'{file}, {backend}: {result["error"]}')
        return
    ran = f'{result["ran"]}{", on the CPU" if result["fell_back"] else ""}'
    print(f'{file}, {backend} (ran: {ran}): {result["wrong_frames"]} of {result["frames_checked"]} frames wrong')
    for rate in result['by_threads']:
        frames, clips, cost = (rate[key]['median'] for key in ('decoded_frames_per_second', 'clips_per_second',
                                                               'cpu_ms_per_clip'))
        print(f'  {rate["threads"]} threads: {frames:.0f} frames/s, {clips:.0f} clips/s, {cost:.2f} CPU-ms per clip')


def run_partition(args: argparse.Namespace) -> None:
    """Measures the partition schemes."""
    from fedvssl.benchmarks.partition import measure_partition
    from fedvssl.commit import write_json
    from fedvssl.environment import describe_environment

    result = measure_partition(args.rows, args.repeats)
    write_json(args.out, dict(result, environment=describe_environment()))
    for scheme, seconds in result['cpu_seconds'].items():
        print(f'{scheme}: median {seconds["median"]:.2f} CPU-s ({seconds["min"]:.2f} to {seconds["max"]:.2f})')


def run_retrieval(args: argparse.Namespace) -> None:
    """Measures the search behind retrieval and kNN."""
    from fedvssl.benchmarks.search import measure_search
    from fedvssl.commit import write_json

    result = measure_search(args.repeats, args.threads, print_search)
    write_json(args.out, result)
    for bar in result['bars']:
        print(f'ours, {bar["quantity"]}: {bar["measured"]:.2f}, wanted {bar["at_most"]:g}'
              f'{"" if bar["met"] else ", MISSED"}')
    load = result['load_average']
    print(f'load average meanwhile: {load["min"]:.1f} to {load["max"]:.1f} on {os.cpu_count()} cores')


def print_search(name: str, figures: dict[str, Any]) -> None:
    """Prints what one search costs."""
    wall, cost, memory = (figures[key] for key in ('wall_s', 'cpu_s', 'peak_memory_gb'))
    print(f'{name}: median {wall["median"]:.1f} s ({wall["min"]:.1f} to {wall["max"]:.1f}), {cost["median"]:.1f} '
          f'CPU-s, peak {memory["median"]:.2f} GB; {100 * figures["same_places"]:.4f} % of the neighbours as ours')


def run_augment(args: argparse.Namespace) -> None:
    """Measures the augmentation of images."""
    from fedvssl.benchmarks.augment import measure_augment
    from fedvssl.commit import write_json

    result = measure_augment(args.batch, repeats=args.repeats, report=print_augment)
    write_json(args.out, result)
    if result['missing']:
        print(result['missing'])


def print_augment(name: str, case: dict[str, Any]) -> None:
    """Prints one case of the benchmark of image augmentation."""
    print(name)
    for pipeline, rate in case['views_per_second'].items():
        line = f'  {pipeline}: {rate["median"]:.0f} views per CPU-s ({rate["min"]:.0f} to {rate["max"]:.0f})'
        if pipeline in case['times_faster']:
            faster = case['times_faster'][pipeline]
            line += f'; ours {faster["median"]:.2f} times as fast ({faster["min"]:.2f} to {faster["max"]:.2f})'
        print(line)
    for bar in case['bars']:
        print(f'  against {bar["than"]}: {bar["measured"]:.2f}, wanted {bar["times_faster"]:g}'
              f'{"" if bar["met"] else ", MISSED"}')


if __name__ == '__main__':
    sys.exit(run_tool(main))
