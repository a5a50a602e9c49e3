"""The same content more than once in a list: byte by byte, so that a re-encoded copy is another video.

Three kinds. A video on both sides of a split makes a test score measure memory; one on two clients breaks the premise
that what a client has, the others have not. Both are errors: no figure means any longer what it says. A copy on the
same side and the same client only counts double, which is a warning.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from fedvssl.findings import Finding, Severity

ACROSS_SPLITS, ACROSS_CLIENTS, TWICE = 'train-test-duplicate', 'client-duplicate', 'duplicate'

_REMEDIES = {
    ACROSS_SPLITS: 'take it out of one split (the quarantine keeps the copy that is tested on)',
    ACROSS_CLIENTS: 'leave it with one client (the quarantine keeps the first in the list)',
    TWICE: 'take it out of the list, or accept that it counts double',
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One video of a list.

    Attributes:
        path: POSIX path relative to the data root, as in the list.
        split: Name of its split; '' where there are none.
        client: Name of its client; '' where there are none.
    """

    path: str
    split: str = ''
    client: str = ''

    @property
    def place(self) -> str:
        """Where the list has it, for messages."""
        return ', '.join(filter(None, [self.split and f'split {self.split}', self.client and f'client {self.client}']))


def content_digest(path: Path) -> str:
    """Returns the SHA-256 of a file, or of what is in a directory, file after file in the order of their names.

    Raises:
        OSError: If it cannot be read.
    """
    if not path.is_dir():
        with path.open('rb') as file:
            return file_digest(file, 'sha256').hexdigest()
    total = sha256()
    for member in sorted(member for member in path.iterdir() if member.is_file()):
        total.update(bytes.fromhex(content_digest(member)))
    return total.hexdigest()


def digests(paths: Sequence[Path], workers: int) -> Iterator[tuple[Path, str]]:
    """Yields paths with their digests, in order; without those that cannot be read any more."""
    with ThreadPoolExecutor(workers) as pool:
        try:
            for path, digest in zip(paths, pool.map(_digest_or_nothing, paths), strict=True):
                if digest:
                    yield path, digest
        finally:
            pool.shutdown(cancel_futures=True)


def _digest_or_nothing(path: Path) -> str:
    try:
        return content_digest(path)
    except OSError:
        return ''


def alike(entries: Iterable[Entry], key: Mapping[str, Any]) -> list[list[Entry]]:
    """Returns the entries that share the value that `key` gives to their path, where there are at least two."""
    groups: dict[Any, list[Entry]] = {}
    for entry in entries:
        if entry.path in key:
            groups.setdefault(key[entry.path], []).append(entry)
    return [group for group in groups.values() if len(group) > 1]


def judge_copies(copies: Sequence[Entry]) -> list[Finding]:
    """Returns a finding for each entry but the one to be kept.

    Args:
        copies: Entries of the same content, in the order of the list.
    """
    split = _split_to_keep([copy.split for copy in copies])
    kept = [copy for copy in copies if copy.split == split]
    findings = [_finding(copy, kept[0], ACROSS_SPLITS) for copy in copies if copy.split != split]
    for copy in kept[1:]:
        findings.append(_finding(copy, kept[0], TWICE if copy.client == kept[0].client else ACROSS_CLIENTS))
    return findings


def _split_to_keep(splits: Sequence[str]) -> str:
    """Returns the first split that is not trained on: a test set is compared with others', a training set seldom."""
    return next((split for split in splits if not split.lower().startswith('train')), splits[0])


def _finding(copy: Entry, kept: Entry, kind: str) -> Finding:
    severity = Severity.WARNING if kind == TWICE else Severity.ERROR
    where = [f' ({entry.place})' if entry.place else '' for entry in (copy, kept)]
    return Finding(severity, kind, copy.path, f'the same bytes{where[0]} as {kept.path}{where[1]}', _REMEDIES[kind])
