"""Weights out: a backbone under the names of another code base, checked tensor by tensor, with a report."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from fedvssl.errors import CheckpointError
from fedvssl.weights.layouts import LAYOUTS, MMACTION_R2PLUS1D_MARK, PREFIX, Layout, bare_names, find_layout
from fedvssl.weights.loading import LoadReport, match
from fedvssl.weights.networks import Network, adapt, identify
from fedvssl.weights.reading import Checkpoint

TARGETS = ('fedvssl', 'mmaction', 'torchvision')


@dataclass(frozen=True)
class Conversion:
    """A backbone for another code base.

    Attributes:
        target: Which one, one of `TARGETS`.
        network: What it is.
        layout: Whose names it had.
        tensors: Its tensors, as that code base calls them.
        report: What became of the names of the source.
        notes: Sentences for whoever uses the result.
    """

    target: str
    network: Network
    layout: Layout
    tensors: dict[str, Tensor]
    report: LoadReport
    notes: tuple[str, ...]

    def __str__(self) -> str:
        return '\n'.join([f'{self.network}, laid out as the {self.layout.title}', f'{self.report}', *self.notes])


def convert(checkpoint: Checkpoint, target: str, source: Path | str, origin: str = 'auto') -> Conversion:
    """Gives the backbone of a checkpoint the names of a code base; everything else is reported and left out.

    Args:
        checkpoint: As `read_checkpoint` gives it.
        target: One of `TARGETS`.
        source: Where it comes from, for messages.
        origin: Whose names it must have; ``auto`` takes whatever is recognised.

    Raises:
        CheckpointError: If the names are of no layout we know, or not of `origin`, a tensor is missing or of
            another shape (the first is named), or the code base does not have this network.
    """
    layout = checkpoint.layout
    if layout is None:
        raise CheckpointError(f'{source}: {_unknown(checkpoint)}')
    if origin not in ('auto', *layout.users):
        raise CheckpointError(f'{source}: its names are those of the {layout.title}, not of {origin}')
    try:
        network = identify(layout.network, checkpoint.tensors)
        report = match(network.state(), checkpoint.tensors, source, str(network))
        tensors, changes = adapt({name: checkpoint.tensors[name] for name in network.state()}, network.state())
    except ValueError as error:
        raise CheckpointError(f'{source}: {error}') from error
    theirs = find_layout(network.type, target)
    if theirs is None:
        raise CheckpointError(f'{source}: is {network}, which mmaction2 does not have: its ResNet2Plus1d has another '
                              f'stem (83 channels), factorised shortcuts and a max-pool')
    if target == 'torchvision':
        _require_torchvision_widths(network, tensors, source)
    prefix = '' if target == 'torchvision' else PREFIX
    named = {f'{prefix}{theirs.from_ours(name.removeprefix(PREFIX))}': tensor for name, tensor in tensors.items()}
    report = LoadReport(report.matched, report.missing, [*report.unexpected, *checkpoint.left_out])
    notes = (*checkpoint.notes, *changes, _norm_note(layout, target), *_geometry_note(layout),
             *_use(target, network))
    return Conversion(target, network, layout, named, report, notes)


def _unknown(checkpoint: Checkpoint) -> str:
    bare = set(bare_names(checkpoint.tensors).values())
    if MMACTION_R2PLUS1D_MARK in bare:
        return ("is mmaction2's ResNet2Plus1d, which nothing here can hold: it has another stem, factorised shortcuts "
                'and a max-pool')
    found = ', '.join(map(repr, list(checkpoint.tensors)[:4]))
    known = '; '.join(f'{layout.title} ({layout.mark})' for layout in LAYOUTS)
    return (f'its layout is not recognised, so that 0 of its {len(checkpoint.tensors)} tensors matched: it has '
            f'{found}, ...; known layouts, each with a tensor it must have: {known}')


def _require_torchvision_widths(network: Network, tensors: dict[str, Tensor], source: Path | str) -> None:
    if network.mid == 'per_conv':
        difference = Network(network.type, network.width, 'per_block').difference(tensors)
        raise CheckpointError(f"{source}: does not fit torchvision's r2plus1d_18, whose inner widths are one a block "
                              f'instead of one a convolution: {difference}')


def _norm_note(layout: Layout, target: str) -> str:
    """Says which eps the batch norms need: it is no tensor, and so in no state dict."""
    if 'torchvision' in layout.users:
        eps, origin = '1e-5', "torchvision's networks, unless converted from others,"
    else:
        eps, origin = '1e-3', 'networks of fedvssl and CtP, unless built otherwise (mmaction2: 1e-5),'
    default, setting = {'fedvssl': ('1e-3', 'model.backbone.norm_eps={}'),
                        'mmaction': ('1e-5', "norm_cfg=dict(type='BN3d', requires_grad=True, eps={})"),
                        'torchvision': ('1e-5', 'the eps of every BatchNorm3d to {}')}[target]
    if eps == default:
        return f'batch norm: {origin} have eps {eps}, the default of {target} too'
    return f'batch norm: {origin} have eps {eps}, the default of {target} is {default}; set {setting.format(eps)}'


def _geometry_note(layout: Layout) -> list[str]:
    """Says what else is in no state dict, where two networks share all names and shapes."""
    if 'mmaction' not in layout.users:
        return []
    return ['strides and pooling are not in the file: networks of fedvssl have temporal strides (1, 2, 2, 2), spatial '
            "ones (1, 2, 2, 2) or, trained by CtP, (1, 2, 2, 1), and no pooling; mmaction2's ResNet3d has by default "
            'eps 1e-5, no temporal strides and two max-pools, with the same names and shapes and other outputs']


def _use(target: str, network: Network) -> list[str]:
    """Says how to load the result."""
    if target == 'mmaction':
        return ["to load: Recognizer3D takes it as it is; for a bare ResNet3d, load_checkpoint(..., "
                "revise_keys=[(r'^backbone\\.', '')]); its settings are those in fedvssl/models/backbones/r3d.py"]
    if target == 'torchvision':
        name = 'r3d_18' if network.type == 'R3D18' else 'r2plus1d_18'
        width = '' if network.width == 64 else f', and its {name} is of width 64, this is of {network.width}'
        return [f'to load: {name}().load_state_dict(..., strict=False), as it has no fc{width}']
    if network.mid == 'per_block':
        return ["to load: set model.backbone.mid='per_block'"]
    return []
