r"""Whether features still say anything: how far they spread, and over how many directions.

    feature std = (1/C) Σ_c std_n(z_nc / ‖z_n‖)        1/√C where unit vectors point everywhere, 0 at one point
    RankMe      = exp(-Σ_k p_k ln p_k),  p_k = σ_k / Σ_j σ_j + ε        1 .. min(N, C)

with the singular values σ of the features Z (N, C). RankMe takes them as they are; what a backbone with ReLUs makes
has a large mean, which then counts as a direction. `centred_rank` takes Z less its mean over the samples: it is 1 where
all features lie on one line, wherever that is.

Sources: Garrido et al., "RankMe: Assessing the Downstream Performance of Pretrained Self-Supervised Representations by
Their Rank", ICML 2023 (ε = 1e-7); Chen & He, "Exploring Simple Siamese Representation Learning", CVPR 2021 (the std).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

EPSILON = 1e-7


def feature_std(z_NC: Tensor) -> float:
    """Returns the mean, over the dimensions, of the standard deviation of L2-normalised features (N, C) over N."""
    return float(F.normalize(z_NC.double(), dim=1).std(dim=0, correction=0).mean())


def rankme(z_NC: Tensor) -> float:
    """Returns the exponential of the entropy of the singular values of features (N, C); 1 for features of zeros."""
    sigma = torch.linalg.svdvals(z_NC.double())
    if not sigma.sum() > 0:
        return 1.0
    p = sigma / sigma.sum() + EPSILON
    return float(torch.exp(-(p * p.log()).sum()))


def centred_rank(z_NC: Tensor) -> float:
    """Returns `rankme` of features (N, C) less their mean over N."""
    z_NC = z_NC.double()
    return rankme(z_NC - z_NC.mean(dim=0))
