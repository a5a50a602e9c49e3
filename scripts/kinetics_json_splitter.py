#!/usr/bin/env python
"""Splits a list of videos evenly and at random: one file client_dist{1..N}.json per client, in the published format.

    python scripts/kinetics_json_splitter.py --input_path train_in_official.txt --out_path iid/
    python scripts/kinetics_json_splitter.py --input_path train_split_1.json --out_path ucf/ --num-clients 10

With the published list, 100 clients and seed 7 (the defaults) the files are the published ones, byte for byte. The
list is compared with that list, and what differs is said. With --manifest the clients are those of a manifest; videos
that the list lacks are skipped and counted.
"""

import sys
from pathlib import Path

from fedvssl.cli import run_tool, split_parser

REFERENCE = Path(__file__).parents[1] / 'DATA/kinetics400/list.npz'


def main() -> None:
    """Reads the options and splits."""
    parser = split_parser(__doc__, './iid/')
    parser.add_argument('--seed', type=int, help='default: 7')
    args = parser.parse_args()
    if args.manifest is not None and (args.seed, args.num_clients) != (None, None):
        parser.error('--manifest has no use for --seed and --num-clients; leave one or the other out')
    scheme = dict(scheme='iid', num_clients=100 if args.num_clients is None else args.num_clients,
                  seed=7 if args.seed is None else args.seed)

    from fedvssl.data.splitting import SplitOptions, split

    for line in split(SplitOptions(args.input_path, args.out_path, scheme, REFERENCE, args.manifest, args.save_manifest,
                                   args.label_base, False, args.report, args.overwrite)):
        print(line)


if __name__ == '__main__':
    sys.exit(run_tool(main))
