"""Split manifests: a published or computed split as positions in a list that everybody has, instead of a copy of it.

A manifest holds, per client, the ordered positions in the reference list, the list's SHA-256, the scheme with its
arguments, and statistics. The reference list itself is not stored but a fingerprint of it: 40 bits of BLAKE2b of each
name, and the labels. That is enough to say how somebody's own list differs, and to find the videos of each client
in it. Both are ``.npz`` files without pickled objects.
"""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b, sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from fedvssl.commit import write_file
from fedvssl.data.annotations import bare_name
from fedvssl.data.partition import Partition
from fedvssl.errors import DataListError

_NAME_BYTES = 5  # among 219,664 names, two of the same fingerprint are to be expected once in 46 lists
_SHOWN = 8


def list_sha256(names: Sequence[str], labels: np.ndarray) -> str:
    """Returns the SHA-256 of a list as text, ``name label`` and a line feed for each video."""
    return sha256(''.join(f'{name} {label}\n' for name, label in zip(names, labels.tolist(), strict=True)).encode()
                  ).hexdigest()


@dataclass(frozen=True)
class ListDifference:
    """How a list differs from the reference.

    Attributes:
        rows: Length of the list.
        where: For each video of the reference, its position in the list, -1 if it is missing (n,).
        unknown: Positions in the list of videos that the reference does not have.
        relabelled: Positions in the list of videos with another label than in the reference.
        reordered: Whether the videos that both have come in another order.
    """

    rows: int
    where: np.ndarray
    unknown: np.ndarray
    relabelled: np.ndarray
    reordered: bool

    @property
    def missing(self) -> np.ndarray:
        """Positions in the reference of the videos that the list does not have."""
        return np.flatnonzero(self.where < 0)

    @property
    def identical(self) -> bool:
        """Whether there is no difference."""
        return not (len(self.missing) or len(self.unknown) or len(self.relabelled) or self.reordered)

    @property
    def similar(self) -> bool:
        """Whether the list has at least half of the reference; else it is a list of something else."""
        return len(self.missing) <= len(self.where) / 2

    def lines(self, names: Sequence[str], reference: Path) -> list[str]:
        """Says the difference in words.

        Args:
            names: The names of the list (rows,).
            reference: The file of the reference.
        """
        if self.identical:
            return [f'the list is the {self.rows:,} videos of {reference}, in the same order']
        if not self.similar:
            shared = len(self.where) - len(self.missing)
            return [f'the list is not that of {reference}: it has {shared:,} of its {len(self.where):,} videos']
        return [f'the list has {self.rows:,} videos, {reference} {len(self.where):,}, in '
                f'{"another" if self.reordered else "the same"} order',
                f'missing: {len(self.missing):,}' + _examples(_ranges(self.missing), 'lines of the reference:'),
                f'unknown to the reference: {len(self.unknown):,}' + _examples([names[row] for row in self.unknown]),
                f'with another label: {len(self.relabelled):,}' + _examples([names[row] for row in self.relabelled])]

    def described(self, names: Sequence[str]) -> dict[str, Any]:
        """Returns the whole difference as JSON values; lines of the reference are counted from 1."""
        return dict(missing_lines=_ranges(self.missing), unknown=[names[row] for row in self.unknown],
                    relabelled=[names[row] for row in self.relabelled], reordered=self.reordered)


@dataclass(frozen=True)
class ReferenceList:
    """Fingerprint of a list.

    Attributes:
        sha256: Of the whole list, see `list_sha256`.
        names: Fingerprint of each bare name (n,), uint64 below 2^40, distinct.
        classes: Class of each video (n,), counted from 0.
    """

    sha256: str
    names: np.ndarray
    classes: np.ndarray

    @classmethod
    def of(cls, names: Sequence[str], labels: np.ndarray, label_base: int) -> 'ReferenceList':
        """Takes the fingerprint of a list.

        Args:
            names: Its names (n,).
            labels: Its labels (n,), as it counts them.
            label_base: The number of its first class.

        Raises:
            DataListError: If two names have the same fingerprint.
        """
        prints = _fingerprints(names)
        if len(np.unique(prints)) < len(prints):
            raise DataListError('two names of this list have the same fingerprint; it cannot be a reference')
        return cls(list_sha256(names, labels), prints, labels - label_base)

    def save(self, file: Path) -> None:
        """Writes it to a file."""
        bytes_ = self.names.astype('<u8').view(np.uint8).reshape(-1, 8)[:, :_NAME_BYTES]
        _write(file, dict(list_sha256=self.sha256), names=bytes_, classes=self.classes.astype('<u2'))

    @classmethod
    def load(cls, file: Path) -> 'ReferenceList':
        """Reads it from a file.

        Raises:
            DataListError: If the file is missing, damaged or something else.
        """
        about, arrays = _read(file, 'names', 'classes')
        if (arrays['names'].dtype != np.uint8 or arrays['names'].shape != (*arrays['classes'].shape, _NAME_BYTES)
                or arrays['classes'].dtype != np.uint16):
            raise DataListError(f'{file}: damaged, or made by something else; get it again')
        padded = np.zeros((len(arrays['names']), 8), np.uint8)
        padded[:, :_NAME_BYTES] = arrays['names']
        return cls(about['list_sha256'], padded.view('<u8').ravel(), arrays['classes'].astype(np.int64))

    def compare(self, names: Sequence[str], classes: np.ndarray) -> ListDifference:
        """Compares a list with this one.

        Args:
            names: Its names (m,), distinct.
            classes: Its classes (m,), counted from 0.
        """
        order = np.argsort(self.names)
        prints = _fingerprints(names)
        found = order[np.searchsorted(self.names[order], prints).clip(max=len(order) - 1)]
        known = self.names[found] == prints
        where = np.full(len(self.names), -1)
        where[found[known]] = np.flatnonzero(known)
        relabelled = np.flatnonzero(known & (self.classes[found] != classes))
        return ListDifference(len(names), where, np.flatnonzero(~known), relabelled,
                              bool(np.any(np.diff(where[where >= 0]) < 0)))


@dataclass(frozen=True)
class SplitManifest:
    """A split of a reference list.

    Attributes:
        scheme: Name and arguments of the scheme, as JSON values.
        list_sha256: Of the reference list.
        statistics: See `fedvssl.data.partition_statistics.statistics`.
        clients: Positions in the reference list, per client, in the order of its list file.
    """

    scheme: dict[str, Any]
    list_sha256: str
    statistics: dict[str, Any]
    clients: Partition

    def save(self, file: Path) -> None:
        """Writes it to a file; positions are stored as differences, which compress well."""
        about = dict(scheme=self.scheme, list_sha256=self.list_sha256, statistics=self.statistics)
        steps = np.diff(np.concatenate(self.clients), prepend=0).astype('<i4')
        _write(file, about, sizes=np.array([len(part) for part in self.clients], '<i4'),
               steps=np.ascontiguousarray(steps.view(np.uint8).reshape(-1, 4).T))

    @classmethod
    def load(cls, file: Path) -> 'SplitManifest':
        """Reads it from a file.

        Raises:
            DataListError: If the file is missing, damaged or something else.
        """
        about, arrays = _read(file, 'sizes', 'steps')
        sizes, steps = arrays['sizes'], arrays['steps']
        if (sizes.dtype != np.int32 or sizes.ndim != 1 or sizes.min(initial=1) < 1 or steps.dtype != np.uint8
                or steps.shape != (4, sizes.sum()) or not isinstance(about.get('scheme'), dict)
                or not isinstance(about['scheme'].get('scheme'), str) or not isinstance(about.get('statistics'), dict)):
            raise DataListError(f'{file}: damaged, or made by something else; get it again')
        positions = np.cumsum(np.ascontiguousarray(steps.T).view('<i4').ravel(), dtype=np.int64)
        clients = np.split(positions, np.cumsum(sizes)[:-1])
        return cls(about['scheme'], about['list_sha256'], about['statistics'], clients)

    def require(self, reference: ReferenceList, file: Path | None, beside: Path) -> None:
        """Refuses a reference list that this is not a split of.

        Raises:
            DataListError: If it is another one.
        """
        if self.list_sha256 != reference.sha256:
            raise DataListError(f'{file}: is a split of another list than that of {beside}; put its own {beside.name} '
                                f'beside it')

    def applied(self, difference: ListDifference) -> Partition:
        """Returns the clients' positions in the list that was compared; videos that it lacks are left out.

        Raises:
            DataListError: If a client would have no video.
        """
        last = max(int(part.max()) for part in self.clients)
        if last >= len(difference.where) or min(int(part.min()) for part in self.clients) < 0:
            raise DataListError(f'the manifest names position {last} of a list of {len(difference.where)}')
        found = [difference.where[part] for part in self.clients]
        parts = [part[part >= 0] for part in found]
        empty = [client for client, part in enumerate(parts, 1) if not len(part)]
        if empty:
            raise DataListError(f'the list has none of the videos of client {empty[0]} ({len(empty)} clients in all)')
        return parts


def _fingerprints(names: Sequence[str]) -> np.ndarray:
    digests = b''.join(blake2b(bare_name(name).encode(), digest_size=_NAME_BYTES).digest() + b'\0' * (8 - _NAME_BYTES)
                       for name in names)
    return np.frombuffer(digests, '<u8').astype(np.uint64)


def _write(file: Path, about: dict[str, Any], **arrays: np.ndarray) -> None:
    stream = BytesIO()
    np.savez_compressed(stream, about=np.array(json.dumps(about)), allow_pickle=False, **arrays)
    write_file(file, stream.getvalue())


def _read(file: Path, *keys: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        with np.load(file, allow_pickle=False) as archive:
            about, arrays = json.loads(str(archive['about'])), {key: archive[key] for key in keys}
        if not isinstance(about['list_sha256'], str):
            raise ValueError('list_sha256 is not text')
        return about, arrays
    except FileNotFoundError as error:
        raise DataListError(f'{file}: no such file') from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise DataListError(f'{file}: not a manifest of ours, or damaged ({error})') from error


def _ranges(positions: np.ndarray) -> list[str]:
    """Returns positions, counted from 1, as single numbers and ranges."""
    runs = np.split(positions, np.flatnonzero(np.diff(positions) > 1) + 1) if len(positions) else []
    return [str(run[0] + 1) if len(run) == 1 else f'{run[0] + 1}-{run[-1] + 1}' for run in runs]


def _examples(items: Sequence[str], what: str = 'such as') -> str:
    return f' ({what} {", ".join(items[:_SHOWN])}{", ..." if len(items) > _SHOWN else ""})' if items else ''
