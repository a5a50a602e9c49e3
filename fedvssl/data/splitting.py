"""From a list to the list files of its clients: what the scripts that split share."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedvssl.data import partition
from fedvssl.data.client_lists import write_client_lists
from fedvssl.data.manifest import ListDifference, ReferenceList, SplitManifest
from fedvssl.data.named_list import NamedList, read_named_list
from fedvssl.data.partition import Partition
from fedvssl.data.partition_report import report_files, write_partition_report
from fedvssl.data.partition_statistics import statistics, summary
from fedvssl.errors import StorageError

REFERENCE = 'list.npz'
"""The fingerprint of the reference list, beside the manifests of its splits."""

LEGACY_WARNING = ('legacy is no partition: most videos are on four clients, and most classes on none; '
                  'use it to compare with published figures only')


@dataclass(frozen=True)
class SplitOptions:
    """What is to be done, as the command line says it.

    Attributes:
        input_path: The list.
        out_path: Directory of the clients' files.
        scheme: Name and arguments: ``iid`` (num_clients, seed; the published shuffle), ``disjoint`` (num_clients,
            classes_per_client, seed), ``dirichlet`` (num_clients, alpha, seed), ``legacy`` (its arguments are words).
        reference: Fingerprint of a list to compare with; none if there is no such file.
        manifest: Take the clients from this manifest instead, and its reference list from beside it.
        save_manifest: Write a manifest of the split, and the fingerprint of the list beside it.
        label_base: The list's number of the first class.
        without_class: Keep only what follows the slash of a name.
        report: Write statistics and a heat map.
        overwrite: Replace the files of another split.
    """

    input_path: Path
    out_path: Path
    scheme: Mapping[str, Any]
    reference: Path
    manifest: Path | None = None
    save_manifest: Path | None = None
    label_base: int = 1
    without_class: bool = False
    report: bool = False
    overwrite: bool = False


def split(options: SplitOptions) -> Iterator[str]:
    """Splits a list; yields what there is to say, as it happens. Nothing is written before all is known to be right.

    Raises:
        DataListError: If the list, the manifest or the scheme's arguments are wrong.
        StorageError: If something cannot be written, or another split would be overwritten.
    """
    listed = read_named_list(options.input_path, options.label_base)
    manifest = None if options.manifest is None else SplitManifest.load(options.manifest)
    scheme = dict(options.scheme if manifest is None else manifest.scheme)
    yield ', '.join(f'{key} {value}' for key, value in scheme.items())
    difference = None
    reference_file = options.reference if options.manifest is None else options.manifest.with_name(REFERENCE)
    if manifest is not None or reference_file.exists():
        reference = ReferenceList.load(reference_file)
        difference = reference.compare(listed.names, listed.classes)
        yield from difference.lines(listed.names, reference_file)
    if manifest is not None and difference is not None:
        manifest.require(reference, options.manifest, reference_file)
        parts = manifest.applied(difference)
        skipped = sum(map(len, manifest.clients)) - sum(map(len, parts))
        yield (f'skipped: {skipped:,} entries whose video is missing; '
               f'left out: {len(difference.unknown):,} unknown videos')
    else:
        if difference is not None and difference.similar and not difference.identical:
            yield from _hint(scheme, reference_file)
        parts = divide(listed, scheme)
    if scheme['scheme'] == 'legacy':
        yield f'warning: {LEGACY_WARNING}'
    described = statistics(parts, listed.labels)
    yield from summary(described)
    entries = listed.entries(parts, options.without_class)
    new_reference = None if options.save_manifest is None else _reference(listed, options.save_manifest)
    written = write_client_lists(options.out_path, entries, options.overwrite)
    yield f'{options.out_path}: {len(parts)} files, {written} of them written, {len(parts) - written} already there'
    yield from _report(options, listed, scheme, parts, difference, written)
    if options.save_manifest is not None and new_reference is not None:
        SplitManifest(scheme, new_reference.sha256, described, parts).save(options.save_manifest)
        new_reference.save(options.save_manifest.with_name(REFERENCE))
        yield f'{options.save_manifest}: written'


def divide(listed: NamedList, scheme: Mapping[str, Any]) -> Partition:
    """Divides a list by a scheme.

    ``disjoint`` and ``dirichlet`` do not depend on the order of the list; ``iid`` and ``legacy`` do, as published.

    Raises:
        DataListError: If the scheme cannot divide the list.
    """
    arguments = dict(scheme)
    name, classes = arguments.pop('scheme'), listed.classes
    if name == 'iid':
        return partition.published_iid(len(classes), **arguments)
    if name == 'legacy':
        return partition.published_window(classes)
    by_class = partition.class_blocks if name == 'disjoint' else partition.dirichlet
    return partition.independent_of_order(listed.names, lambda order: by_class(classes[order], **arguments))


def _hint(scheme: Mapping[str, Any], reference: Path) -> Iterator[str]:
    """Says which manifest keeps the clients that this scheme has of the reference list."""
    for file in sorted(reference.parent.glob('*.npz')):
        if file.name != REFERENCE and SplitManifest.load(file).scheme == scheme:
            yield (f'note: the scheme is applied to this list, so that clients differ from those of {file}; '
                   f'--manifest {file} keeps them and skips what is missing')


def _reference(listed: NamedList, manifest: Path) -> ReferenceList:
    """Returns the list as the reference of a manifest, if it may lie beside it."""
    reference = ReferenceList.of(listed.names, listed.labels, listed.label_base)
    beside = manifest.with_name(REFERENCE)
    if beside.exists() and ReferenceList.load(beside).sha256 != reference.sha256:
        raise StorageError(f'{beside}: is the reference of another list; save the manifest in another directory')
    return reference


def _report(options: SplitOptions, listed: NamedList, scheme: Mapping[str, Any], parts: Partition,
            difference: ListDifference | None, written: int) -> Iterator[str]:
    if options.report:
        about = dict(scheme=dict(scheme), list=listed.file.name, rows=len(listed.names),
                     difference_from_reference=difference and difference.described(listed.names))
        for file in write_partition_report(options.out_path, parts, listed.labels, about):
            yield f'{file}: written'
    elif written and options.overwrite:
        for file in report_files(options.out_path):  # of the split that was there
            file.unlink(missing_ok=True)
