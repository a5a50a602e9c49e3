"""The projectors and predictors of all image methods: linear layers with batch norms in between."""

from itertools import pairwise

from mmengine.model import BaseModule
from torch import Tensor, nn

from fedvssl.errors import ConfigError
from fedvssl.registry import MODELS

ACTIVATIONS = {'relu': nn.ReLU, 'gelu': nn.GELU}
LAST_NORMS = (None, 'affine', 'plain')


@MODELS.register_module()
class MLP(BaseModule):
    """Linear (norm, activation, linear)* (last norm).

    Args:
        in_channels: Dimensions of the input; set by the model.
        out_channels: Of the output, D.
        hidden_channels: Of the layers in between; None: as many as the input.
        num_layers: Linear layers, at least 1.
        norm: Whether batch norms follow the hidden layers.
        last_norm: Batch norm behind the last layer: None, ``'affine'``, or ``'plain'`` (without scale and shift).
        activation: ``'relu'`` or ``'gelu'``.
        hidden_bias: Whether hidden layers have biases; needless before a norm. None: where there is no norm.
        last_bias: Whether the last layer has one. None: where no norm follows.

    Raises:
        ConfigError: If an argument is out of its range.
    """

    def __init__(self, in_channels: int, out_channels: int = 128, hidden_channels: int | None = None,
                 num_layers: int = 2, norm: bool = True, last_norm: str | None = None, activation: str = 'relu',
                 hidden_bias: bool | None = None, last_bias: bool | None = None) -> None:
        super().__init__()
        if num_layers < 1 or last_norm not in LAST_NORMS or activation not in ACTIVATIONS:
            raise ConfigError(f'MLP: needs num_layers >= 1, last_norm of {LAST_NORMS} and activation of '
                              f'{list(ACTIVATIONS)}, not {num_layers}, {last_norm!r} and {activation!r}')
        widths = [in_channels, *[hidden_channels or in_channels] * (num_layers - 1), out_channels]
        layers = [_layer(ins, outs, norm, activation, not norm if hidden_bias is None else hidden_bias)
                  for ins, outs in pairwise(widths[:-1])]
        last: list[nn.Module] = [nn.Linear(widths[-2], out_channels, not last_norm if last_bias is None else last_bias)]
        if last_norm:
            last.append(nn.BatchNorm1d(out_channels, affine=last_norm == 'affine'))
        self.layers = nn.Sequential(*layers, nn.Sequential(*last))
        self.out_channels = out_channels

    @property
    def first_layer(self) -> nn.Module:
        """The first linear layer with its norm and activation."""
        return self.layers[0]

    def forward(self, h_NC: Tensor) -> Tensor:
        """Returns (N, D)."""
        return self.layers(h_NC)


def _layer(ins: int, outs: int, norm: bool, activation: str, bias: bool) -> nn.Sequential:
    parts: list[nn.Module] = [nn.Linear(ins, outs, bias)]
    if norm:
        parts.append(nn.BatchNorm1d(outs))
    return nn.Sequential(*parts, ACTIVATIONS[activation]())
