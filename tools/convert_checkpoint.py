#!/usr/bin/env python
"""Converts the backbone of a checkpoint between code bases.

    python tools/convert_checkpoint.py round-540-weights.array.npz backbone.safetensors
    python tools/convert_checkpoint.py work_dirs/demo backbone.pth --to mmaction
    python tools/convert_checkpoint.py r3d_18.pth backbone.safetensors --from torchvision

SOURCE is a work directory of a pretraining run (its newest round), one of its round directories, a .safetensors or .pth
file of fedvssl, mmaction2, CtP or torchvision, or a round-N-weights.array.npz of FedVSSL or Flower. Networks: R3D-18
and R(2+1)D-18 of any width. The suffix of OUT chooses the format, .safetensors or .pth. Nothing in SOURCE is executed;
what matched is reported, and heads are left out.
"""

import argparse
import sys
from pathlib import Path

from fedvssl.cli import run_tool


def main() -> None:
    """Reads the options, converts, and prints the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', metavar='SOURCE', help='checkpoint to read')
    parser.add_argument('out', metavar='OUT', type=Path, help='file to write, .safetensors or .pth')
    parser.add_argument('--to', choices=['fedvssl', 'mmaction', 'torchvision'], default='fedvssl',
                        help='whose names to write (default: fedvssl)')
    parser.add_argument('--from', dest='origin', choices=['auto', 'fedvssl', 'mmaction', 'ctp', 'torchvision'],
                        default='auto', help='whose names SOURCE must have (default: whatever is recognised)')
    parser.add_argument('--force', action='store_true', help='replace OUT if it is there')
    args = parser.parse_args()

    from fedvssl.weights.converting import convert
    from fedvssl.weights.reading import read_checkpoint
    from fedvssl.weights.writing import check_target, write_conversion

    check_target(args.out, args.force)
    conversion = convert(read_checkpoint(args.source), args.to, args.source, args.origin)
    size = write_conversion(conversion, args.out, args.force)
    print(conversion)
    print(f'wrote {args.out}: {len(conversion.tensors)} tensors under the names of {args.to}, {size} bytes')


if __name__ == '__main__':
    sys.exit(run_tool(main))
