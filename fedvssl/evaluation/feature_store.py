"""Features of videos, and keeping them on disk.

Extracting them costs hours where everything else costs seconds, so they are kept, each set as one verified commit,
under a digest of all that determines them. What is kept can be lost without loss: a damaged entry is said and made
again, and one that cannot be written costs only the next extraction.
"""

import contextlib
import fcntl
import json
import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

from torch import Tensor

from fedvssl.commit import MANIFEST, read_commit, write_commit
from fedvssl.errors import CheckpointError, StorageError

logger = logging.getLogger('fedvssl')

VECTORS_FILE = 'features.safetensors'
FACTS_FILE = 'features.json'


@dataclass(frozen=True)
class Features:
    """One vector per readable video of a split.

    Attributes:
        vectors: float32 (n, d), finite.
        labels: int64 (n,), counted from 0.
        paths: The videos (n), relative to the data root, in the order of the list.
        bad: Path and reason of each video that could not be read, and is not among them.
        pool: Frames, height and width that the feature maps were averaged to; less than asked where they are smaller.
        read_by: How many videos each video reader delivered.
        reproducible: False if a video was lost to a deadline.
        seconds: What extracting them took.
        key: Digest of what determines them; '' before they were given one.
        kept: Whether they come from the disk.
    """

    vectors: Tensor
    labels: Tensor
    paths: list[str]
    bad: dict[str, str]
    pool: tuple[int, ...]
    read_by: dict[str, int]
    reproducible: bool
    seconds: float
    key: str = ''
    kept: bool = False

    def __len__(self) -> int:
        return len(self.paths)

    def among(self, paths: Collection[str]) -> 'Features':
        """Returns the features of some of the videos."""
        wanted = set(paths)
        rows = [row for row, path in enumerate(self.paths) if path in wanted]
        return replace(self, vectors=self.vectors[rows], labels=self.labels[rows],
                       paths=[self.paths[row] for row in rows])

    def describe(self) -> dict[str, Any]:
        """Returns what a result says about them, as JSON values."""
        return dict(n=len(self), dimension=self.vectors.shape[1], pool=list(self.pool), bad_videos=self.bad,
                    read_by=self.read_by, reproducible=self.reproducible, seconds=self.seconds, key=self.key,
                    from_disk=self.kept)


def digest_of(facts: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of JSON values, as 64 hexadecimal digits."""
    return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


class FeatureStore:
    """Sets of features below a directory.

    Args:
        directory: Made when the first set is kept; None keeps nothing.
    """

    def __init__(self, directory: Path | None) -> None:
        self.directory = directory

    @contextlib.contextmanager
    def claimed(self, facts: Mapping[str, Any]) -> Iterator[None]:
        """Waits while another process has claimed the same facts; where files cannot be locked, nobody waits.

        The file that is locked is gone afterwards. Who had been waiting for it looks into the store next, as does who
        makes a new one, so that nothing is made twice.
        """
        with contextlib.ExitStack() as stack:
            if self.directory is not None:
                with contextlib.suppress(OSError):
                    self.directory.mkdir(parents=True, exist_ok=True)
                    file = self._entry(facts).with_suffix('.lock')
                    _lock(stack.enter_context(file.open('w')))
                    stack.callback(file.unlink, missing_ok=True)
            yield

    def read(self, facts: Mapping[str, Any]) -> Features | None:
        """Returns the set that `facts` determine; None if it is not there, or damaged, which a warning says."""
        if self.directory is None:
            return None
        key, entry = digest_of(facts), self._entry(facts)
        if not entry.exists() and not entry.with_name(f'.old-{entry.name}').exists():
            return None
        try:
            return _parse(read_commit(entry), key, entry)
        except CheckpointError as error:
            logger.warning('%s; these features are extracted again', error)
            _clear(entry)
            return None

    def keep(self, facts: Mapping[str, Any], features: Features) -> Features:
        """Keeps a set, and returns it with its key; a warning says if it could not be written.

        A set that lost a video to a deadline is not kept: the next extraction may read it.
        """
        features = replace(features, key=digest_of(facts))
        if self.directory is None or not features.reproducible:
            return features
        try:
            write_commit(self._entry(facts), _content(facts, features))
        except StorageError as error:
            logger.warning('%s; these features are used, but not kept', error)
        return features

    def _entry(self, facts: Mapping[str, Any]) -> Path:
        assert self.directory is not None
        return self.directory / f'features-{digest_of(facts)[:24]}'


def _lock(file: IO[str]) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        logger.info('another process extracts these features; waiting for it')
        fcntl.flock(file, fcntl.LOCK_EX)


def _content(facts: Mapping[str, Any], features: Features) -> dict[str, bytes]:
    from safetensors.torch import save

    about = dict(determined_by=dict(facts), key=features.key, paths=features.paths, bad=features.bad,
                 pool=list(features.pool), read_by=features.read_by, seconds=features.seconds)
    return {VECTORS_FILE: save(dict(vectors=features.vectors, labels=features.labels)),
            FACTS_FILE: json.dumps(about, indent=1, sort_keys=True).encode()}


def _parse(files: dict[str, bytes], key: str, entry: Path) -> Features:
    """Understands an entry whose files are what was once written."""
    from safetensors.torch import load

    try:
        about, tensors = json.loads(files[FACTS_FILE]), load(files.pop(VECTORS_FILE))
    except KeyError as error:
        raise CheckpointError(f'{entry}: holds no {error.args[0]}') from error
    if about['key'] != key:  # only the first digits are in the name
        raise CheckpointError(f'{entry}: holds other features')
    return Features(tensors['vectors'], tensors['labels'], about['paths'], about['bad'], tuple(about['pool']),
                    about['read_by'], True, about['seconds'], key, kept=True)


def _clear(entry: Path) -> None:
    """Removes the files of an entry, and nothing else: what is not ours stays, and is in the way."""
    for name in (MANIFEST, VECTORS_FILE, FACTS_FILE):
        with contextlib.suppress(OSError):
            (entry / name).unlink()
    with contextlib.suppress(OSError):
        entry.rmdir()
