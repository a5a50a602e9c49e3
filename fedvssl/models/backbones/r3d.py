"""R3D-18, tensor for tensor the network of Catch-the-Patch (CtP) and FedVSSL, as a setting of mmaction2's ``ResNet3d``.

Stem 3x7x7, stride (1, 2, 2), no pooling; four stages of two basic blocks; temporal strides (1, 2, 2, 2); batch norm
with eps 1e-3. At width 64: 33,166,272 parameters in 120 tensors, (B, 3, 16, 112, 112) -> (B, 512, 2, 7, 7).

mmaction2's own defaults differ in four places that matter: it max-pools twice, never strides in time, loads 2D weights
and zero-initialises the last norm of each block.

Sources: Wang et al., "Unsupervised Visual Representation Learning by Tracking Patches in Video", CVPR 2021; Tran et
al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition", CVPR 2018.
"""

from collections.abc import Sequence

from mmaction.models.backbones import ResNet3d

from fedvssl.registry import MODELS


@MODELS.register_module()
class R3D18(ResNet3d):
    """R3D-18 without its classifier.

    Args:
        base_channels: Width of the first stage; 64 is the published network, 8 to 16 suit a CPU.
        spatial_strides: Stride of each stage in height and width; CtP pretraining uses (1, 2, 2, 1).
        temporal_strides: Stride of each stage in time.
        norm_eps: Epsilon of the batch norms (CtP: 1e-3; torchvision: 1e-5).

    Shapes:
        Input (B, 3, T, H, W) float; output (B, 8 * base_channels, ~T/8, ~H/16, ~W/16).
    """

    def __init__(self, base_channels: int = 64, spatial_strides: Sequence[int] = (1, 2, 2, 2),
                 temporal_strides: Sequence[int] = (1, 2, 2, 2), norm_eps: float = 1e-3) -> None:
        super().__init__(
            depth=18,
            pretrained2d=False,
            base_channels=base_channels,
            spatial_strides=tuple(spatial_strides),
            temporal_strides=tuple(temporal_strides),
            conv1_kernel=(3, 7, 7),
            conv1_stride_t=1,
            with_pool1=False,
            with_pool2=False,
            inflate=(1, 1, 1, 1),
            inflate_style='3x3x3',
            norm_cfg=dict(type='BN3d', requires_grad=True, eps=norm_eps),
            zero_init_residual=False,
        )

    def train(self, mode: bool = True) -> 'R3D18':
        """Sets the mode and returns the module, which mmaction2's version forgets."""
        super().train(mode)
        return self
