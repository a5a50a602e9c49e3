#!/usr/bin/env python
"""Pretrains a backbone across clients.

    python tools/fed_train.py configs/demo/vcop_fedvssl.py --work-dir work_dirs/demo
    python tools/fed_train.py configs/demo/vcop_fedvssl.py --work-dir work_dirs/demo --resume

Writes rounds/round-NNNNNN (one commit per round, the newest linked as rounds/latest), log.jsonl and config.json. Exit
codes: 0 ok, 1 internal error, 2 config, 3 data list, 4 too many bad videos, 5 too few clients, 6 storage, 7 checkpoint
refused, 130 interrupted.
"""

import sys
from pathlib import Path

from fedvssl.cli import parse_options, run_parser, run_tool


def main() -> None:
    """Reads the options and runs."""
    args = run_parser(__doc__).parse_args()

    from fedvssl.config import check_types, load_config

    config = load_config(args.config, parse_options(args.cfg_options))
    config.section('federation')
    check_types(config)

    from fedvssl.federated.run import check_run, federate

    if args.check:
        print(check_run(config))
        return
    federate(config, Path(args.work_dir or Path('work_dirs') / Path(args.config).stem), resume=args.resume)


if __name__ == '__main__':
    sys.exit(run_tool(main))
