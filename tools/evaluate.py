#!/usr/bin/env python
"""Measures what a backbone has learned, on labelled videos: by a linear probe, by its neighbours, by retrieval.

    python tools/evaluate.py knn configs/demo/finetune.py --checkpoint work_dirs/demo
    python tools/evaluate.py retrieval configs/downstream/finetune_r3d18_ucf101.py --checkpoint work_dirs/vcop
    python tools/evaluate.py linear configs/demo/linear.py --checkpoint work_dirs/demo --protocol fedvssl
    python tools/evaluate.py linear configs/demo/finetune.py --checkpoint random --protocol cached

linear: one linear layer on a backbone that stays as it is. knn: weighted vote of the k nearest training videos, with
k = 200, T = 0.1 and with k = 20, T = 0.07. retrieval: share of the test videos that have one of their class among the
1, 5, 10, 20, 50 nearest training videos. A config's section evaluation says otherwise.

--checkpoint takes a work directory of fed_train.py or train.py (its newest round), one of its round directories, a
.safetensors or .pth file (also of CtP, mmaction2 or torchvision), a published .npz, or random (initial weights).
The videos' features are kept below --features, and extracted again only when something that determines them changed.
Writes result.json; retrieval also neighbours.json, linear also log.jsonl.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedvssl.cli import add_config_options, parse_options, run_tool

if TYPE_CHECKING:
    from fedvssl.config import RunConfig

FEATURES = Path('work_dirs/features')


def main() -> None:
    """Reads the options and evaluates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = parser.add_subparsers(dest='task', required=True)
    options = argparse.ArgumentParser(add_help=False)
    add_config_options(options)
    options.add_argument('--checkpoint', required=True, metavar='CHECKPOINT|random',
                         help='where the backbone comes from')
    options.add_argument('--features', type=Path, default=FEATURES, metavar='DIR',
                         help=f'where extracted features are kept (default: {FEATURES})')
    linear = tasks.add_parser('linear', help='linear probe', parents=[options])
    linear.add_argument('--protocol', choices=('fedvssl', 'cached'),
                        help='clips augmented anew, as FedVSSL did, or features that are extracted once (default: '
                             'fedvssl where the config has a LinearProbe, else cached)')
    linear.add_argument('--resume', action='store_true', help='continue the run in the work directory (fedvssl)')
    linear.set_defaults(run=run_linear)
    tasks.add_parser('knn', help='weighted kNN', parents=[options]).set_defaults(run=run_knn)
    tasks.add_parser('retrieval', help='nearest-neighbour retrieval', parents=[options]).set_defaults(run=run_retrieval)
    args = parser.parse_args()

    from fedvssl.config import check_types, load_config

    config = load_config(args.config, parse_options(args.cfg_options))
    check_types(config)
    task = f'linear-{protocol_of(args, config)}' if args.task == 'linear' else args.task
    name = f'{Path(args.config).stem}_{task}_{Path(args.checkpoint).stem}'
    work_dir = Path(args.work_dir or Path('work_dirs') / name)
    result = args.run(args, config, work_dir)
    print(f'{summary(result)}\nresult {work_dir / "result.json"}')


def protocol_of(args: argparse.Namespace, config: 'RunConfig') -> str:
    """Returns the protocol of a linear probe."""
    return args.protocol or ('fedvssl' if config.model['type'] == 'LinearProbe' else 'cached')


def run_linear(args: argparse.Namespace, config: 'RunConfig', work_dir: Path) -> dict[str, Any]:
    """Trains and tests a linear layer."""
    from fedvssl.evaluation.linear import linear_probe
    from fedvssl.training.hooks import Hooks
    from fedvssl.training.logging import ConsoleHook, JsonlHook

    hook = Hooks([ConsoleHook('epoch', 'step'), JsonlHook(work_dir / 'log.jsonl', every=50)])
    return linear_probe(config, work_dir, args.checkpoint, protocol_of(args, config), hook, args.features, args.resume)


def run_knn(args: argparse.Namespace, config: 'RunConfig', work_dir: Path) -> dict[str, Any]:
    """Classifies by neighbours."""
    from fedvssl.evaluation.knn import evaluate_knn

    return evaluate_knn(config, args.checkpoint, work_dir, args.features)


def run_retrieval(args: argparse.Namespace, config: 'RunConfig', work_dir: Path) -> dict[str, Any]:
    """Retrieves."""
    from fedvssl.evaluation.retrieval import evaluate_retrieval

    return evaluate_retrieval(config, args.checkpoint, work_dir, args.features)


def summary(result: dict[str, Any]) -> str:
    """Returns what was measured, in one line."""
    figures = []
    for name, value in result['measured'].items():
        low, high = result['intervals'].get(name, (None, None))
        interval = '' if low is None else f' ({100 * low:.1f} to {100 * high:.1f})'
        figures.append(f'{name} {100 * value:.1f} %{interval}')
    gallery = f' against {result["gallery"]}' if 'gallery' in result else ''
    return f'{result["protocol"]["name"]}: {", ".join(figures)}; n = {result["n"]}{gallery}'


if __name__ == '__main__':
    sys.exit(run_tool(main))
