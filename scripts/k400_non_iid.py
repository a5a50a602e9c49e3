#!/usr/bin/env python
"""Splits a list of videos into non-IID clients: one file client_dist{1..N}.json per client, in the published format.

    python scripts/k400_non_iid.py --input_path train_in_official.txt --out_path non_iid/
    python scripts/k400_non_iid.py --input_path train_in_official.txt --out_path published/ --mode legacy --report
    python scripts/k400_non_iid.py --input_path list.txt --out_path dirichlet/ --dirichlet 0.5 --num-clients 50
    python scripts/k400_non_iid.py --input_path mine.txt --out_path mine/ --manifest DATA/kinetics400/disjoint.npz

The default, --mode disjoint, is a true partition: every client has whole shares of a few classes, every video is on one
client. --mode legacy reproduces the published lists, which are not a partition: 106 of 400 classes, and most videos on
four clients. The list is compared with the published list of 219,664 videos, and what differs is said. With --manifest
the clients are those of a manifest; videos that the list lacks are skipped and counted.
"""

import argparse
import sys
from pathlib import Path

from fedvssl.cli import run_tool, split_parser

REFERENCE = Path(__file__).parents[1] / 'DATA/kinetics400/list.npz'


def main() -> None:
    """Reads the options and splits."""
    parser = split_parser(__doc__, './non_iid/')
    parser.add_argument('--team', choices=('tcl', 'cam'), default='tcl',
                        help='tcl: names as they are (default); cam: only what follows the slash')
    parser.add_argument('--mode', choices=('disjoint', 'legacy'), help='default: disjoint')
    parser.add_argument('--classes-per-client', type=int, help='default: 8')
    parser.add_argument('--dirichlet', type=float, metavar='A',
                        help='deal each class in proportions drawn from Dirichlet(A) instead')
    parser.add_argument('--seed', type=int, help='default: 7; legacy has seeds of its own')
    args = parser.parse_args()
    scheme = _scheme(parser, args)

    from fedvssl.data.splitting import SplitOptions, split

    for line in split(SplitOptions(args.input_path, args.out_path, scheme, REFERENCE, args.manifest, args.save_manifest,
                                   args.label_base, args.team == 'cam', args.report, args.overwrite)):
        print(line)


def _scheme(parser: argparse.ArgumentParser, args: argparse.Namespace) -> dict[str, object]:
    """Returns the scheme that the options name; refuses those that it does not use."""
    given = {'--num-clients': args.num_clients, '--classes-per-client': args.classes_per_client,
             '--dirichlet': args.dirichlet, '--seed': args.seed}
    chosen, used = '--mode disjoint', ['--num-clients', '--classes-per-client', '--seed']
    if args.manifest is not None:
        chosen, used = '--manifest', []
    elif args.mode == 'legacy':
        chosen, used = '--mode legacy', []
    elif args.dirichlet is not None:
        chosen, used = '--dirichlet', ['--num-clients', '--dirichlet', '--seed']
    unused = [name for name, value in given.items() if value is not None and name not in used]
    if args.mode is not None and (args.manifest is not None or chosen == '--dirichlet'):
        unused.append('--mode')
    if unused:
        parser.error(f'{chosen} has no use for {" and ".join(unused)}; leave one or the other out')
    seed = 7 if args.seed is None else args.seed
    clients = 100 if args.num_clients is None else args.num_clients
    if args.mode == 'legacy':
        return dict(scheme='legacy', num_clients=100, classes_per_client=8, seeds='1234 and 4321')
    if args.dirichlet is not None:
        return dict(scheme='dirichlet', num_clients=clients, alpha=args.dirichlet, seed=seed)
    per_client = 8 if args.classes_per_client is None else args.classes_per_client
    return dict(scheme='disjoint', num_clients=clients, classes_per_client=per_client, seed=seed)


if __name__ == '__main__':
    sys.exit(run_tool(main))
