"""Learning-rate factors against their closed forms."""

import math

import pytest

from fedvssl.errors import ConfigError
from fedvssl.training.schedules import ConstantSchedule, CosineSchedule, StepSchedule


def test_constant():
    assert {ConstantSchedule()(number / 7) for number in range(8)} == {1.0}


@pytest.mark.parametrize('steps', [1, 3, 7])
def test_steps_at_epochs_60_and_120_of_150(steps):
    """Every step of the published fine-tuning, with progress as the trainer computes it."""
    schedule = StepSchedule([60 / 150, 120 / 150], gamma=0.1)
    for epoch in range(150):
        for step in range(steps):
            begin, end = epoch / 150, (epoch + 1) / 150
            factor = schedule(begin + (end - begin) * step / steps)
            assert factor == pytest.approx(1 if epoch < 60 else 0.1 if epoch < 120 else 0.01), (epoch, step)


def test_a_milestone_within_a_round_is_not_missed_by_rounding():
    progress = 1 / 3 + (2 / 3 - 1 / 3) * 1 / 5
    assert progress < 0.4  # round 2 of 3, step 1 of 5: exactly 0.4 but for the rounding
    assert StepSchedule([0.4], gamma=0.5)(progress) == 0.5


@pytest.mark.parametrize('milestones', [[0.8, 0.4], [0.0], [0.5, 1.0], [60, 120]])
def test_milestones_out_of_range(milestones):
    with pytest.raises(ConfigError, match='milestones must ascend between 0 and 1'):
        StepSchedule(milestones)


def test_cosine():
    schedule = CosineSchedule(final=0.2)
    assert [schedule(p) for p in (0, 0.5, 1)] == pytest.approx([1, 0.6, 0.2])
    assert schedule(0.25) == pytest.approx(0.2 + 0.8 * (1 + math.sqrt(0.5)) / 2)


def test_cosine_warms_up_in_a_line_and_then_falls():
    schedule = CosineSchedule(warmup=0.2)
    assert [schedule(p) for p in (0, 0.05, 0.1, 0.2, 0.6, 1)] == pytest.approx([0, 0.25, 0.5, 1, 0.5, 0])
    with pytest.raises(ConfigError, match=r'warmup is a share in \[0, 1\), not 1'):
        CosineSchedule(warmup=1)
