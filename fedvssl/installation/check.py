"""All rules, applied to the machine and the Python that this runs on."""

import importlib.metadata
import locale
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from fedvssl.findings import Finding, Severity
from fedvssl.installation import machine, packages
from fedvssl.installation.probes import try_in_children

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_DEADLINE = 120.0  # seconds; importing everything takes four, but the disk may be cold and far away


def check_installation(deadline: float = _DEADLINE) -> list[Finding]:
    """Returns what is wrong with Python, the packages, and the machine.

    Takes some seconds, because packages are really imported (in other processes) and tried on a tiny clip.

    Args:
        deadline: Seconds after which an import that does not return is a finding.
    """
    return [*machine.check_directory('temporary directory (TMPDIR)', tempfile.gettempdir, Severity.ERROR),
            *machine.check_directory('current directory', Path.cwd, Severity.WARNING),  # MKL fails in a removed one
            *_check_packages(deadline),
            *machine.check_open_files(_open_files()),
            *machine.check_encodings(sys.getfilesystemencoding(), locale.getpreferredencoding(False)),
            *machine.check_variables(os.environ)]


def _check_packages(deadline: float) -> list[Finding]:
    try:
        from packaging.requirements import Requirement  # a dependency of mmcv-lite and flwr
    except ImportError:
        return [Finding(Severity.ERROR, 'missing', 'packaging', 'not installed: no version can be compared',
                        'pip install packaging, then check again')]

    versions = packages.installed_versions()
    findings, required = _own_requirements()
    tried = [requirement for requirement in [*required, Requirement('torchcodec')]
             if packages.canonical(requirement) in versions]
    return [*findings,
            *packages.check_overlaps(required, versions),
            *packages.check_opencv(versions, packages.opencv_in_place(versions)),
            *packages.check_requirements(required, versions),
            *packages.check_holes(versions),
            *packages.check_usable(tried, deadline)]


def _own_requirements() -> 'tuple[list[Finding], list[Requirement]]':
    try:
        metadata = importlib.metadata.metadata('fedvssl')
    except importlib.metadata.PackageNotFoundError:
        return [Finding(Severity.ERROR, 'missing', 'fedvssl', 'not installed: what it needs is not known',
                        'pip install -e . in the checkout')], []
    return (packages.check_python(platform.python_version(), metadata['Requires-Python'] or ''),
            packages.hard_requirements(metadata.get_all('Requires-Dist') or []))


def _open_files() -> int:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return -1
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def describe_installation(deadline: float = _DEADLINE) -> list[str]:
    """Returns versions and hardware in a few lines.

    Args:
        deadline: Seconds after which torch, which knows about the hardware, is not waited for any longer.
    """
    python = f'Python {platform.python_version()} ({sys.executable})'
    outcome, = try_in_children(['fedvssl.installation.probes:describe'], deadline)
    if outcome.value is None:
        return [python, f'versions and hardware are not known: {outcome.failure}']
    facts = outcome.value
    versions = [f'{name} {version or "(not installed)"}' for name, version in facts['packages'].items()]
    processor, gpu = facts['processor'] or facts['machine'], facts['gpu'] or 'none that torch can use'
    return [python, ', '.join(versions),
            f'{facts["cores"]} cores, {processor}; torch runs {facts["torch_threads"]} threads',
            f'GPU: {gpu}; torch is built for {facts["build"]}']
