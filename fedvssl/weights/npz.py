"""The ``round-N-weights.array.npz`` files that FedVSSL and Flower's baseline write: lists of arrays without names.

Three forms are read, without numpy's ``allow_pickle`` and without Flower:

* ``arr_0`` is a pickled ``Parameters`` object of Flower's, a list of ``.npy`` byte strings (FedAvg: and ``arr_1`` an
  empty dictionary);
* ``arr_0`` is a pickled array of arrays;
* ``arr_0``, ``arr_1``, ... are plain arrays.
"""

import zipfile
from pathlib import Path

import numpy as np

from fedvssl.errors import CheckpointError
from fedvssl.inert.arrays import read_npy, split_npy
from fedvssl.weights.unpickling import MAX_ARRAYS, Parameters, read_object_array

# The published files hold 133 to 161 MB; a file must not claim memory that no such file needs.
MAX_BYTES = 1 << 30


def read_npz(path: Path) -> list[np.ndarray]:
    """Returns the arrays of a file in their order; nothing in it is executed.

    Raises:
        CheckpointError: If it is damaged, too large, or holds anything but arrays of numbers.
    """
    try:
        return _decode(_members(path))
    except Exception as error:  # zipfile, zlib, pickle and numpy have a dozen types for damaged files
        raise CheckpointError(f'{path}: not a file of plain arrays, or damaged; nothing in it was executed '
                              f'({type(error).__name__}: {str(error) or "no details"})') from error


def _members(path: Path) -> list[bytes]:
    """Returns ``arr_0.npy``, ``arr_1.npy``, ... of an archive."""
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        names = [f'arr_{number}.npy' for number in range(len(entries))]
        if not entries or len(entries) > MAX_ARRAYS or set(entries) != set(names):
            raise ValueError(f'holds {", ".join(sorted(entries)[:3]) or "nothing"} instead of arr_0, arr_1, ...')
        total = sum(entry.file_size for entry in entries.values())
        if total > MAX_BYTES:
            raise ValueError(f'claims to hold {total} bytes, more than the {MAX_BYTES} that are read')
        return [archive.read(entries[name]) for name in names]


def _decode(members: list[bytes]) -> list[np.ndarray]:
    header = split_npy(members[0])
    if not header[2].hasobject:
        return [read_npy(member) for member in members]
    items, *others = map(_objects, members)
    if any(list(map(type, other)) != [dict] for other in others):
        raise ValueError('holds more than one list of arrays')
    if isinstance(items[0], Parameters) and len(items) == 1:
        return [read_npy(tensor) for tensor in items[0].tensors]
    arrays = [item for item in items if isinstance(item, np.ndarray)]
    if len(arrays) != len(items):
        raise ValueError('holds something else among its arrays')
    return arrays


def _objects(member: bytes) -> list[object]:
    _, _, dtype, content = split_npy(member)
    if not dtype.hasobject:
        raise ValueError('mixes plain arrays and pickled objects')
    return read_object_array(content)
