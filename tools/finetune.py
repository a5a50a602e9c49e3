#!/usr/bin/env python
"""Fine-tunes a backbone on labelled videos and tests it.

    python tools/finetune.py configs/demo/finetune.py --pretrained work_dirs/demo
    python tools/finetune.py configs/demo/finetune.py --pretrained none
    python tools/finetune.py configs/downstream/finetune_r3d18_ucf101.py --pretrained work_dirs/vcop --splits 1 2 3 \\
        --cfg-options training.label_fraction=0.1

--pretrained takes a work directory of fed_train.py or train.py (its newest round), one of its round directories, a
.safetensors or .pth file (also of CtP, mmaction2 or torchvision), a published .npz, or none (training from scratch).
Writes result.json and log.jsonl, and after each epoch what --resume continues from. With --splits there is one run in
split1, split2 ... each, and the result is their mean.
"""

import sys
from pathlib import Path

from fedvssl.cli import config_parser, parse_options, run_tool


def main() -> None:
    """Reads the options and runs."""
    parser = config_parser(__doc__)
    parser.add_argument('--pretrained', required=True, metavar='CHECKPOINT|none', help='where the backbone comes from')
    parser.add_argument('--resume', action='store_true', help='continue the run in the work directory')
    parser.add_argument('--splits', nargs='+', type=int, metavar='N',
                        help="numbers of the list's splits, e.g. 1 2 3 (default: the one that the config names)")
    args = parser.parse_args()

    from fedvssl.config import check_types, load_config

    config = load_config(args.config, parse_options(args.cfg_options))
    config.section('training')
    check_types(config)

    from fedvssl.evaluation.finetune import finetune
    from fedvssl.evaluation.splits import finetune_splits
    from fedvssl.training.hooks import Hook, Hooks
    from fedvssl.training.logging import ConsoleHook, JsonlHook

    def make_hook(directory: Path) -> Hook:
        return Hooks([ConsoleHook('epoch', 'step'), JsonlHook(directory / 'log.jsonl', every=50)])

    pretrained = None if args.pretrained == 'none' else args.pretrained
    name = f'{Path(args.config).stem}_{Path(pretrained).stem if pretrained else "scratch"}'
    work_dir = Path(args.work_dir or Path('work_dirs') / name)
    if args.splits is None:
        finetune(config, work_dir, pretrained, make_hook(work_dir), args.resume)
        return
    result = finetune_splits(config, args.splits, work_dir, pretrained, make_hook, args.resume)
    print('  '.join(f'{key} {value:.4g}' for key, value in result['measured'].items()),
          f' mean of {len(result["splits"])} splits', f' result {work_dir / "result.json"}')


if __name__ == '__main__':
    sys.exit(run_tool(main))
