"""Accuracy of class scores, with its uncertainty."""

import math

import torch
from torch import Tensor


def top_k_accuracy(scores: Tensor, target: Tensor, k: int) -> float:
    """Returns the share of samples whose target is among the `k` highest scores.

    Args:
        scores: (n, classes).
        target: int64 (n,).
        k: At most the number of classes counts.
    """
    best = scores.topk(min(k, scores.shape[1]), dim=1).indices
    return float((best == target[:, None]).any(dim=1).double().mean())


def mean_class_accuracy(scores: Tensor, target: Tensor) -> float:
    """Returns the mean, over the classes that occur, of each class's top-1 accuracy (arguments as `top_k_accuracy`)."""
    correct = (scores.argmax(dim=1) == target).double()
    return float(torch.stack([correct[target == label].mean() for label in target.unique()]).mean())


def wilson_interval(correct: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Returns the Wilson score interval of a share of `correct` among `n`, 95 % by default."""
    share = correct / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(centre - half, 0.0), min(centre + half, 1.0)


def accuracy_report(scores: Tensor, target: Tensor) -> dict[str, float | int | list]:
    """Returns ``top1``, its 95 % interval, ``top5``, ``mean_class``, ``n``, the class of each sample as it was
    ``predicted`` and as it is (``target``), and, for paired comparisons, which samples were right (``correct``, 0 or 1
    each); arguments as `top_k_accuracy`.
    """
    n = len(target)
    top1, predicted = top_k_accuracy(scores, target, 1), scores.argmax(dim=1)
    return dict(n=n, top1=top1, top1_interval=list(wilson_interval(round(top1 * n), n)),
                top5=top_k_accuracy(scores, target, 5), mean_class=mean_class_accuracy(scores, target),
                predicted=predicted.tolist(), target=target.tolist(), correct=(predicted == target).int().tolist())
