"""Examines a list of videos: which of them cannot be used, which only this toolkit reads right, and which are copies.

Facts about a file come from a probe (`fedvssl.video.probing.probe`) or from the cache; what they mean is said by the
rules in `fedvssl.data.diagnoses` and `fedvssl.data.duplicates`. What is left when all videos with an error are taken
out (the quarantine) has no errors, as long as clients keep their videos.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from fedvssl.data.annotations import resolve
from fedvssl.data.diagnoses import MISSING, REFUSED, Need, judge
from fedvssl.data.duplicates import ACROSS_CLIENTS, ACROSS_SPLITS, Entry, alike, digests, judge_copies
from fedvssl.data.probe_cache import ProbeCache, Signature, signature_of
from fedvssl.errors import DataListError
from fedvssl.findings import Finding, Severity
from fedvssl.video.probing.facts import Facts
from fedvssl.video.probing.probe_pool import ProbePool

Progress = Callable[[str, int, int], None]
"""Is told what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a path of the list leads, and what is there."""

    path: Path
    signature: Signature


def examine(entries: Sequence[Entry], root: Path, needs: Mapping[str, Need], cache: ProbeCache, pool: ProbePool, *,
            quick: bool = False, workers: int = 1, progress: Progress = lambda *state: None) -> list[Finding]:
    """Examines a list.

    A file whose facts the cache has is looked at with `stat` only. Contents are compared by size first, and read only
    where sizes agree.

    Args:
        entries: The videos, in the order of the list.
        root: Directory their paths are relative to.
        needs: What the videos of each split need; any frame is enough for the others.
        cache: What is known already; gets what is found out.
        pool: Probes the other files.
        quick: Whether to decode three frames of each only.
        workers: Threads that read contents.
        progress: Is told how far it is.

    Returns:
        The findings, in the order of the list.

    Raises:
        BackendUnavailableError: If a decoder is missing.
        StorageError: If the cache cannot be read or written.
    """
    root = root.absolute()  # the cache knows files by these names
    first: dict[str, Entry] = {}
    for entry in entries:
        first.setdefault(entry.path, entry)
    places, facts = _look(root, first)
    facts |= _known(places, cache, pool, quick)
    facts |= _refused(root, [path for path in places if path not in facts])
    facts |= _probed({path: place for path, place in places.items() if path not in facts}, cache, pool, quick, progress)
    findings = [finding for path, entry in first.items()
                for finding in judge(path, facts[path], needs.get(entry.split, Need()))]
    bad = {finding.subject for finding in findings if finding.severity is Severity.ERROR}
    sound = {path: place for path, place in places.items() if path not in bad}
    for copies in alike(first.values(), _contents(list(first.values()), sound, cache, workers, progress)):
        findings += judge_copies(copies)
    order = {path: number for number, path in enumerate(first)}
    return _shared(entries) + sorted(findings, key=lambda finding: order[finding.subject])


def _look(root: Path, paths: Iterable[str]) -> tuple[dict[str, _Place], dict[str, Facts]]:
    """Returns what is there; and for the other paths, that nothing is."""
    places, faults = {}, {}
    for relative in paths:
        path = root / relative
        try:
            signature = signature_of(path)
        except (OSError, ValueError) as error:  # no permission, loops of links, names that no file can have
            faults[relative] = Facts(trouble=REFUSED, reason=str(error))
            continue
        if signature is None:
            faults[relative] = Facts(trouble=MISSING, reason='no such file')
        else:
            places[relative] = _Place(path, signature)
    return places, faults


def _refused(root: Path, paths: Iterable[str]) -> dict[str, Facts]:
    """Returns those of the paths that the loader would not follow, whatever is there; this costs more than `stat`."""
    refused = {}
    for relative in paths:
        try:
            resolve(root, relative)
        except DataListError as error:
            refused[relative] = Facts(trouble=REFUSED, reason=str(error).removeprefix(f'{root / relative}: '))
    return refused


def _known(places: Mapping[str, _Place], cache: ProbeCache, pool: ProbePool, quick: bool) -> dict[str, Facts]:
    known = {}
    for path, place in places.items():
        facts = cache.facts(place.path, place.signature, quick, pool.allowance(place.signature.bytes))
        if facts:
            known[path] = facts
    return known


def _probed(places: Mapping[str, _Place], cache: ProbeCache, pool: ProbePool, quick: bool,
            progress: Progress) -> dict[str, Facts]:
    names = {place.path: name for name, place in places.items()}
    found = {}
    with closing(pool.run({place.path: place.signature.bytes for place in places.values()}, quick)) as results:
        for path, facts in results:
            found[names[path]] = facts
            cache.add_facts(path, places[names[path]].signature, facts)
            progress('probing', len(found), len(places))
    return found


def _contents(entries: Sequence[Entry], places: Mapping[str, _Place], cache: ProbeCache, workers: int,
              progress: Progress) -> dict[str, str]:
    """Returns the digests of those files that have the size of another one."""
    sizes = {path: place.signature[:2] for path, place in places.items()}
    suspects = {places[entry.path].path: entry.path for group in alike(entries, sizes) for entry in group}
    known = {name: cache.digest(path, places[name].signature) for path, name in suspects.items()}
    contents = {name: digest for name, digest in known.items() if digest}
    unknown = [path for path, name in suspects.items() if name not in contents]
    for done, (path, digest) in enumerate(digests(unknown, workers), 1):
        contents[suspects[path]] = digest
        cache.add_digest(path, places[suspects[path]].signature, digest)
        progress('comparing', done, len(unknown))
    return contents


def _shared(entries: Sequence[Entry]) -> list[Finding]:
    """Returns a finding if paths are in several splits, and one if they are on several clients of a split.

    No quarantine can mend that.
    """
    splits: dict[str, dict[str, None]] = {}
    clients: dict[tuple[str, str], dict[str, None]] = {}
    for entry in entries:
        splits.setdefault(entry.path, {})[entry.split] = None
        clients.setdefault((entry.path, entry.split), {})[entry.client] = None
    in_both = [path for path, names in splits.items() if len(names) > 1]
    on_several = [path for (path, _), names in clients.items() if len(names) > 1]
    findings = []
    if in_both:
        findings.append(Finding(Severity.ERROR, ACROSS_SPLITS, ' and '.join(splits[in_both[0]]),
                                f'{len(in_both)} videos are in both, e.g. {in_both[0]}',
                                'give data.train.split and data.test.split values that share no video'))
    if on_several:
        findings.append(Finding(Severity.ERROR, ACROSS_CLIENTS, 'the clients',
                                f'{len(on_several)} videos are on more than one of them, e.g. {on_several[0]}',
                                'take a partition that shares none, such as ClassBlocksPartitioner'))
    return findings


def quarantine(findings: Iterable[Finding], paths: Iterable[str]) -> dict[str, str]:
    """Returns the videos to be left out, each with its reason: those of `paths` that have an error."""
    listed = set(paths)
    reasons: dict[str, str] = {}
    for finding in findings:
        if finding.severity is Severity.ERROR and finding.subject in listed:
            reasons.setdefault(finding.subject, f'{finding.kind}: {finding.message}')
    return reasons
