#!/usr/bin/env python
"""Fine-tunes a backbone on labelled videos and tests it.

    python tools/finetune.py configs/demo/finetune.py --pretrained work_dirs/demo
    python tools/finetune.py configs/demo/finetune.py --pretrained none

--pretrained takes a work directory of fed_train.py or train.py (its newest round), one of its round directories, a
.safetensors or .pth file (also of CtP, mmaction2 or torchvision), a published .npz, or none (training from scratch).
Writes result.json and log.jsonl.
"""

import sys
from pathlib import Path

from fedvssl.cli import config_parser, parse_options, run_tool


def main() -> None:
    """Reads the options and runs."""
    parser = config_parser(__doc__)
    parser.add_argument('--pretrained', required=True, metavar='CHECKPOINT|none', help='where the backbone comes from')
    args = parser.parse_args()

    from fedvssl.config import check_types, load_config

    config = load_config(args.config, parse_options(args.cfg_options))
    config.section('training')
    check_types(config)

    from fedvssl.evaluation.finetune import finetune
    from fedvssl.training.hooks import Hooks
    from fedvssl.training.logging import ConsoleHook, JsonlHook

    pretrained = None if args.pretrained == 'none' else args.pretrained
    name = f'{Path(args.config).stem}_{"pretrained" if pretrained else "scratch"}'
    work_dir = Path(args.work_dir or Path('work_dirs') / name)
    hook = Hooks([ConsoleHook('epoch', 'step'), JsonlHook(work_dir / 'log.jsonl', every=50)])
    finetune(config, work_dir, pretrained, hook)


if __name__ == '__main__':
    sys.exit(run_tool(main))
