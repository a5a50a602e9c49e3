"""Key maps: what the tensors of one network are called in other code bases.

One table per network, a row per module, a column per code base; ``{}`` stands for a block, ``layer1.0`` to
``layer4.1``. Everything here works on names alone, without the prefixes ``module.`` and ``backbone.`` and without the
head.

Our own names are those of mmaction2's ``ResNet3d`` for R3D-18, and those of Catch-the-Patch (CtP) for R(2+1)D-18, which
mmaction2 does not have in this form.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

PREFIX = 'backbone.'
_WRAPPER = 'module.'  # torch's data-parallel wrappers put it before every name
_BLOCK = re.compile(r'(layer[1-4]\.[01])\.(.+)')

# fedvssl, mmaction2      CtP                   torchvision
_R3D18 = (
    ('conv1.conv',         'stem.conv',          'stem.0'),
    ('conv1.bn',           'stem.bn',            'stem.1'),
    ('{}.conv1.conv',      '{}.conv1.conv',      '{}.conv1.0'),
    ('{}.conv1.bn',        '{}.bn1',             '{}.conv1.1'),
    ('{}.conv2.conv',      '{}.conv2.conv',      '{}.conv2.0'),
    ('{}.conv2.bn',        '{}.bn2',             '{}.conv2.1'),
    ('{}.downsample.conv', '{}.downsample.conv', '{}.downsample.0'),
    ('{}.downsample.bn',   '{}.downsample_bn',   '{}.downsample.1'),
)

# fedvssl, CtP            torchvision
_R2PLUS1D18 = (
    ('stem.conv_s',        'stem.0'),
    ('stem.bn_s',          'stem.1'),
    ('stem.conv_t',        'stem.3'),
    ('stem.bn_t',          'stem.4'),
    ('{}.conv1.conv_s',    '{}.conv1.0.0'),
    ('{}.conv1.bn_s',      '{}.conv1.0.1'),
    ('{}.conv1.conv_t',    '{}.conv1.0.3'),
    ('{}.bn1',             '{}.conv1.1'),
    ('{}.conv2.conv_s',    '{}.conv2.0.0'),
    ('{}.conv2.bn_s',      '{}.conv2.0.1'),
    ('{}.conv2.conv_t',    '{}.conv2.0.3'),
    ('{}.bn2',             '{}.conv2.1'),
    ('{}.downsample.conv', '{}.downsample.0'),
    ('{}.downsample_bn',   '{}.downsample.1'),
)


@dataclass(frozen=True)
class Layout:
    """The names one code base gives to the tensors of one network.

    Attributes:
        network: Its type in our configs.
        users: The code bases that use these names, in the words of the command line.
        title: The same for messages.
        mark: A tensor that has this name here and in no other layout.
        modules: Our modules by theirs.
    """

    network: str
    users: tuple[str, ...]
    title: str
    mark: str
    modules: Mapping[str, str]

    def to_ours(self, name: str) -> str | None:
        """Returns our name of a tensor, None if it is not of this layout."""
        return _translated(name, self.modules)

    def from_ours(self, name: str) -> str | None:
        """Returns this layout's name of one of our tensors, None if it has none."""
        return _translated(name, {ours: theirs for theirs, ours in self.modules.items()})


def _layout(table: Iterable[tuple[str, ...]], column: int, **fields: str | tuple[str, ...]) -> Layout:
    return Layout(modules={row[column]: row[0] for row in table}, **fields)  # type: ignore[arg-type]


LAYOUTS = (
    _layout(_R3D18, 0, network='R3D18', users=('fedvssl', 'mmaction'), title='R3D-18 of fedvssl and mmaction2',
            mark='conv1.conv.weight'),
    _layout(_R3D18, 1, network='R3D18', users=('ctp',), title='R3D-18 of CtP',
            mark='stem.conv.weight'),
    _layout(_R3D18, 2, network='R3D18', users=('torchvision',), title='r3d_18 of torchvision',
            mark='layer1.0.conv1.0.weight'),
    _layout(_R2PLUS1D18, 0, network='R2Plus1D18', users=('fedvssl', 'ctp'), title='R(2+1)D-18 of fedvssl and CtP',
            mark='stem.conv_s.weight'),
    _layout(_R2PLUS1D18, 1, network='R2Plus1D18', users=('torchvision',), title='r2plus1d_18 of torchvision',
            mark='layer1.0.conv1.0.0.weight'),
)

# Recognised only to say why it cannot be read: another stem, factorised shortcuts, always a max-pool.
MMACTION_R2PLUS1D_MARK = 'conv1.conv.conv_s.weight'


def find_layout(network: str, user: str) -> Layout | None:
    """Returns the layout in which a code base holds a network, None if it does not have the network."""
    return next((layout for layout in LAYOUTS if layout.network == network and user in layout.users), None)


def bare_names(names: Iterable[str]) -> dict[str, str]:
    """Returns the names of a checkpoint's backbone, each with its name without prefixes.

    ``module.`` goes if every name has it. Where there are names below ``backbone.``, only those are the backbone's;
    else all of them may be.
    """
    names = list(names)
    wrapped = bool(names) and all(name.startswith(_WRAPPER) for name in names)
    stripped = {name: name.removeprefix(_WRAPPER) if wrapped else name for name in names}
    inside = {name: bare.removeprefix(PREFIX) for name, bare in stripped.items() if bare.startswith(PREFIX)}
    return inside or stripped


def recognise(bare: Iterable[str]) -> list[Layout]:
    """Returns the layouts whose mark is among the bare names: one, if all is well."""
    found = set(bare)
    return [layout for layout in LAYOUTS if layout.mark in found]


def _translated(name: str, modules: Mapping[str, str]) -> str | None:
    module, _, leaf = name.rpartition('.')
    block = _BLOCK.fullmatch(module)
    pattern = f'{{}}.{block[2]}' if block else module
    if pattern not in modules:
        return None
    return f'{modules[pattern].format(block[1]) if block else modules[pattern]}.{leaf}'
