"""Metrics against values computed by hand."""

import pytest
import torch

from fedvssl.evaluation.metrics import accuracy_report, mean_class_accuracy, top_k_accuracy, wilson_interval

# Best class of each sample: 0, 2, 0, 1, 0; second best: 1, 1, 2, 0, 2.
SCORES = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.5, 0.2, 0.3], [0.4, 0.5, 0.1], [9.0, -1.0, 0.0]])
TARGET = torch.tensor([0, 1, 0, 2, 0])


def test_top_k():
    assert top_k_accuracy(SCORES, TARGET, 1) == pytest.approx(3 / 5)
    assert top_k_accuracy(SCORES, TARGET, 2) == pytest.approx(4 / 5)
    assert top_k_accuracy(SCORES, TARGET, 3) == top_k_accuracy(SCORES, TARGET, 5) == 1


def test_mean_class_counts_classes_not_samples():
    assert mean_class_accuracy(SCORES, TARGET) == pytest.approx((3 / 3 + 0 / 1 + 0 / 1) / 3)
    assert mean_class_accuracy(SCORES[:3], torch.tensor([0, 2, 2])) == pytest.approx((1 / 1 + 1 / 2) / 2)  # 1 is absent


@pytest.mark.parametrize(('correct', 'n', 'low', 'high'), [
    (0, 10, 0, 0.2775),  # z² / (n + z²) = 3.8415 / 13.8415
    (10, 10, 0.7225, 1),
    (50, 100, 0.4038, 0.5962),
    (1, 1, 0.2065, 1),  # 1 / (1 + z²) = 1 / 4.8415
])
def test_wilson(correct, n, low, high):
    assert wilson_interval(correct, n) == pytest.approx((low, high), abs=5e-5)


def test_the_report():
    report = accuracy_report(SCORES, TARGET)
    assert report['top1_interval'] == list(wilson_interval(3, 5))
    assert report['correct'] == [1, 0, 1, 0, 1]
    assert [report[key] for key in ('n', 'top1', 'top5', 'mean_class')] == pytest.approx([5, 3 / 5, 1, 1 / 3])
