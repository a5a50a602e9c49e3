"""Speed: the network names the playback rate of a clip.

Not the two-way task of SpeedNet (normal or sped up), whose name CtP's code gives it: the target is one of seven
strides, -4, -2, -1, 0, 1, 2, 4 frames of the video per frame of the clip; negative ones run backwards and 0 is a frozen
frame (`fedvssl.data.sampling.SpeedSampler`). Average pool, dropout 0.5, one linear layer from N(0, 0.001), 3,591
parameters at width 64; cross-entropy, initially ln 7 = 1.946.

Sources: Wang et al. (CtP), CVPR 2021, whose code has this task as a baseline; Rehman et al. (FedVSSL), ECCV 2022.
"""

from fedvssl.models.video import PooledClassifier
from fedvssl.registry import MODELS


@MODELS.register_module()
class Speed(PooledClassifier):
    """Playback rate prediction; the target is the stride's place in the sampler's list."""
