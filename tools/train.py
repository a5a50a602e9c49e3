#!/usr/bin/env python
"""Pretrains a backbone in one place, on all videos: the baseline of a federated run, from the same config.

    python tools/train.py configs/demo/vcop_fedvssl.py --work-dir work_dirs/central --cfg-options training.epochs=48
    python tools/train.py configs/demo/vcop_fedvssl.py --work-dir work_dirs/central --cfg-options training.epochs=48 \\
        --resume

Needs a section training (epochs, and optim_wrapper, schedule, batch_size where they differ from the federated run's).
With training.client=K it trains on the videos that the federation would give client K (from 0), and no others.
Writes rounds/round-NNNNNN (one commit per epoch, the newest linked as rounds/latest), log.jsonl and config.json. Exit
codes: 0 ok, 1 internal error, 2 config, 3 data list, 4 too many bad videos, 6 storage, 7 checkpoint refused, 130
interrupted.
"""

import sys
from pathlib import Path

from fedvssl.cli import parse_options, run_parser, run_tool


def main() -> None:
    """Reads the options and runs."""
    args = run_parser(__doc__).parse_args()

    from fedvssl.config import check_types, load_config

    config = load_config(args.config, parse_options(args.cfg_options))
    config.section('training')
    check_types(config)

    from fedvssl.pretraining import check_pretraining, pretrain

    if args.check:
        print(check_pretraining(config))
        return
    name = f'{Path(args.config).stem}_centralised'
    pretrain(config, Path(args.work_dir or Path('work_dirs') / name), resume=args.resume)


if __name__ == '__main__':
    sys.exit(run_tool(main))
