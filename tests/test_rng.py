"""Named random streams."""

import subprocess
import sys

import numpy as np
import torch

from fedvssl import rng


def test_the_name_decides_everything():
    assert rng.stream_seed(7, 'sample', 1, 2) == rng.stream_seed(7, 'sample', 1, 2)
    seeds = {rng.stream_seed(seed, purpose, client, number, epoch, index)
             for seed in (7, 8) for purpose in ('sample', 'order') for client in range(4) for number in range(5)
             for epoch in range(3) for index in range(10)}
    assert len(seeds) == 2 * 2 * 4 * 5 * 3 * 10
    assert rng.stream_seed(7, 'a', 12, 3) != rng.stream_seed(7, 'a', 1, 23)


def test_golden_value_across_processes():
    """Guards resumed and distributed runs against a change of the naming scheme."""
    code = 'from fedvssl import rng; print(rng.stream_seed(7, "sample", 3, 12, 0, 41))'
    fresh = int(subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout)
    assert fresh == rng.stream_seed(7, 'sample', 3, 12, 0, 41) == GOLDEN


def test_generators_and_torch_follow_the_name():
    np.testing.assert_array_equal(rng.generator(7, 'x', 1).random(3), rng.generator(7, 'x', 1).random(3))
    rng.seed_torch(7, 'dropout', 1, 2)
    first = torch.rand(3)
    torch.rand(100)
    rng.seed_torch(7, 'dropout', 1, 2)
    assert torch.equal(first, torch.rand(3))


GOLDEN = 4826055815583234412
