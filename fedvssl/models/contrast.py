"""What contrastive methods on videos and images share: cosines with a queue, the queue, and how pairs are judged."""

import torch
from torch import Tensor


def contrast(q_BD: Tensor, k_BD: Tensor, queue_KD: Tensor) -> Tensor:
    """Returns the cosines (B, 1 + K) of each query with its own key, which comes first, and with the queue."""
    return torch.cat([(q_BD * k_BD).sum(dim=1, keepdim=True), q_BD @ queue_KD.T], dim=1)


@torch.no_grad()
def enqueue(queue_KD: Tensor, pointer: Tensor, rows_ND: Tensor) -> None:
    """Replaces the oldest rows of a queue; of more than K, the last K. `pointer` counts all that ever came in."""
    size = len(queue_KD)
    places = (pointer + torch.arange(len(rows_ND), device=rows_ND.device)) % size
    queue_KD[places[-size:]] = rows_ND[-size:].to(queue_KD.dtype)
    pointer += len(rows_ND)


def share_of_partners(pairs_N2D: Tensor) -> float:
    """Returns how often the partner is the nearest of all n, for embeddings (n, 2, D) of length 1."""
    partners = pairs_N2D[:, 1].T
    places = torch.arange(len(pairs_N2D), device=pairs_N2D.device)
    # In parts: all n x n cosines of a big set would not fit into memory.
    right = sum(int((part @ partners).argmax(dim=1).eq(own).sum())
                for part, own in zip(pairs_N2D[:, 0].split(1024), places.split(1024), strict=True))
    return right / len(pairs_N2D)
