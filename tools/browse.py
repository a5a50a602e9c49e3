#!/usr/bin/env python
"""Draws what the model sees: a sheet with a few samples after all augmentations, just before normalisation.

    python tools/browse.py configs/demo/vcop_fedvssl.py --out sheet.png
    python tools/browse.py configs/demo/ctp_fedvssl.py --out sheet.png --samples 8 --phase test --seed 3

Each sample is captioned with its video and with what its target means: the clip order, the stride, the angle, the
label; CtP's boxes are drawn. Samples go through the same dataset, transforms and preprocessor as in training.
"""

import argparse
import sys
from pathlib import Path

from fedvssl.cli import parse_options, run_tool


def main() -> None:
    """Reads the options and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file (.py)')
    parser.add_argument('--out', type=Path, default=Path('sheet.png'), metavar='PNG',
                        help='file to write (default: sheet.png)')
    parser.add_argument('--samples', type=int, default=4, help='how many videos to show (default: 4)')
    parser.add_argument('--phase', choices=('train', 'test'), default='train', help='default: train')
    parser.add_argument('--seed', type=int, help="chooses videos, clips and augmentations (default: the config's)")
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE',
                        help='override config values, e.g. data.root=/my/videos')
    args = parser.parse_args()

    from fedvssl.config import check_types, load_config

    config = load_config(args.config, parse_options(args.cfg_options))
    check_types(config)

    from fedvssl.report.browsing import browse

    sights = browse(config, args.config, args.out, args.phase, args.samples, args.seed)
    print(f'{args.out}: {len(sights)} videos')


if __name__ == '__main__':
    sys.exit(run_tool(main))
