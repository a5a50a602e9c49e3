"""What an examination found: of a set of videos (`fedvssl.data.doctor`) or of an installation."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = 'error'  # cannot be used as it is
    WARNING = 'warning'  # works here; elsewhere, or for some purposes, it would not


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        severity: Errors make the exit code 1.
        kind: Short name of what is wrong, the same for all findings of its sort, e.g. ``'truncated'``.
        subject: The file, package or setting that it is about.
        message: What was found, in one line.
        remedy: What to do, in one line.
    """

    severity: Severity
    kind: str
    subject: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f'{self.severity}: {self.subject}: {self.kind}: {self.message}; {self.remedy}'


def exit_code(findings: Iterable[Finding]) -> int:
    """Returns 1 if there is an error among the findings, else 0."""
    return int(any(finding.severity is Severity.ERROR for finding in findings))
