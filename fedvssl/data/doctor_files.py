"""The doctor's files: all findings, and the videos to leave out, a list that a config names as ``data.quarantine``."""

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

from fedvssl.commit import write_file
from fedvssl.data.list_files import UNPRINTABLE
from fedvssl.findings import Finding

FINDINGS_FILE, QUARANTINE_FILE, CACHE_FILE = 'findings.csv', 'quarantine.csv', 'cache.sqlite3'


def write_findings(directory: Path, findings: Iterable[Finding]) -> Path:
    """Writes ``severity,kind,path,message,remedy``, one line per finding, and returns the file.

    Raises:
        StorageError: If it cannot be written.
    """
    rows = ([finding.severity, finding.kind, finding.subject, finding.message, finding.remedy] for finding in findings)
    return _write_csv(directory / FINDINGS_FILE, ['severity', 'kind', 'path', 'message', 'remedy'], rows)


def write_quarantine(directory: Path, reasons: Mapping[str, str]) -> Path:
    """Writes ``path,reason``, one line per video to be left out, and returns the file.

    Raises:
        StorageError: If it cannot be written.
    """
    return _write_csv(directory / QUARANTINE_FILE, ['path', 'reason'], reasons.items())


def _write_csv(file: Path, header: list[str], rows: Iterable[Iterable[str]]) -> Path:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(header)
    writer.writerows([UNPRINTABLE.sub('?', value) for value in row] for row in rows)
    write_file(file, text.getvalue().encode())
    return file
