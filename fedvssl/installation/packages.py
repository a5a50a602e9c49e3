"""Rules about packages: what fedvssl needs, what overwrites what, which versions have known holes, what does not work.

The rules take versions by canonical name, and so can be asked about any installation.
"""

import importlib.metadata
import sys
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from fedvssl.findings import Finding, Severity
from fedvssl.installation.probes import try_in_children

if TYPE_CHECKING:
    from packaging.requirements import Requirement

Versions = Mapping[str, str]

_OVERLAPS = {  # package -> others that install the same files
    'mmcv-lite': (Severity.ERROR, ('mmcv', 'mmcv-full')),
    'decord': (Severity.WARNING, ('decord2', 'eva-decord')),
}
_OPENCV = ('opencv-python', 'opencv-contrib-python', 'opencv-python-headless', 'opencv-contrib-python-headless')

_HOLES = (  # package, versions with the hole, severity, the hole, what to install
    ('ray', '<2.52', Severity.ERROR, 'CVE-2025-62593, known to be exploited', 'ray>=2.52'),
    ('pillow', '<13.0.0', Severity.WARNING, 'CVE-2026-96639 and, in the JPEG decoder, GHSA-5x8w', 'pillow>=13.0.0'),
    ('protobuf', '<5.29.6', Severity.WARNING, 'CVE-2026-0994', 'protobuf>=6.33.5,<7'),
    ('protobuf', '>=6,<6.33.5', Severity.WARNING, 'CVE-2026-0994', 'protobuf>=6.33.5,<7'),
)

_TARGETS = {  # package -> how it is tried; the others are imported by their own name
    'torch': 'fedvssl.installation.probes:convolve',
    'av': 'fedvssl.installation.probes:reencode',
    'mmcv-lite': 'mmcv',
    'mmaction2': 'fedvssl.compat:import_mmaction_models',
    'flwr': 'flwr.serverapp',
    'torchcodec': 'torchcodec.decoders',
}


def installed_versions(path: Sequence[str] | None = None) -> dict[str, str]:
    """Returns the version of every distribution on a search path (default: ``sys.path``), by canonical name."""
    from packaging.utils import canonicalize_name

    versions: dict[str, str] = {}
    for distribution in importlib.metadata.distributions(path=sys.path if path is None else list(path)):
        try:
            name, version = distribution.metadata['Name'], distribution.metadata['Version']
        except Exception:  # what an interrupted uninstallation leaves; its type depends on the version of Python
            continue
        if name and version:
            versions.setdefault(canonicalize_name(name), version)
    return versions


def hard_requirements(lines: Iterable[str]) -> 'list[Requirement]':
    """Returns those of a distribution's requirements that hold here without any extra."""
    from packaging.requirements import Requirement

    requirements = [Requirement(line) for line in lines]
    return [requirement for requirement in requirements
            if requirement.marker is None or requirement.marker.evaluate({'extra': ''})]


def check_python(version: str, accepted: str) -> list[Finding]:
    """Finds a version of Python that fedvssl does not accept."""
    if in_range(version, accepted):
        return []
    return [Finding(Severity.ERROR, 'version', 'Python', f'this is {version}, {accepted} is needed',
                    f'make an environment with Python {accepted}')]


def check_requirements(required: 'Iterable[Requirement]', versions: Versions) -> list[Finding]:
    """Finds requirements that are not installed, or in a version that is not accepted."""
    findings = []
    for requirement in required:
        version = versions.get(canonical(requirement))
        if version is None:
            findings.append(Finding(Severity.ERROR, 'missing', requirement.name, 'not installed',
                                    f'pip install {_quoted(requirement)}'))
        elif not in_range(version, str(requirement.specifier)):
            message = f'version {version} is installed, {requirement.specifier} is needed'
            findings.append(Finding(Severity.ERROR, 'version', requirement.name, message,
                                    f'pip install {_quoted(requirement)}'))
    return findings


def in_range(version: str, specifier: str) -> bool:
    """Returns whether a version is in a range; pre-releases count as they are ordered, nonsense is in no range."""
    from packaging.specifiers import SpecifierSet
    from packaging.version import InvalidVersion, Version

    try:
        return SpecifierSet(specifier).contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False


def check_overlaps(required: 'Iterable[Requirement]', versions: Versions) -> list[Finding]:
    """Finds packages that install the same files as a required one: those of either may be in place, or a mixture."""
    findings = []
    for requirement in required:
        severity, others = _OVERLAPS.get(canonical(requirement), (Severity.ERROR, ()))
        present = [name for name in others if name in versions]
        if present:
            message = f'{_listed(present, versions)} installed the same files: one has overwritten the other'
            remedy = (f'pip uninstall -y {" ".join(present)} {requirement.name}, '
                      f'then pip install {_quoted(requirement)}')
            findings.append(Finding(severity, 'overlap', requirement.name, message, remedy))
    return findings


def check_opencv(versions: Versions, in_place: str | None) -> list[Finding]:
    """Finds variants of OpenCV that overwrote each other's files.

    mmcv-lite requires opencv-python and mmaction2 opencv-contrib-python: these two, of one version, are in order.

    Args:
        versions: Installed versions.
        in_place: The variant whose files are there now, if it is known.
    """
    from packaging.version import Version

    present = [name for name in _OPENCV if name in versions]
    alike = len({versions[name] for name in present}) == 1 and not any('headless' in name for name in present)
    if len(present) < 2 or alike:
        return []
    newest = max((versions[name] for name in present), key=Version)
    message = (f'{_listed(present, versions)} overwrote each other\'s files; '
               f'{f"those of {in_place}" if in_place else "a mixture"} remained')
    remedy = (f'pip uninstall -y {" ".join(present)}, '
              f'then pip install opencv-python=={newest} opencv-contrib-python=={newest}')
    return [Finding(Severity.WARNING, 'overlap', 'opencv-python', message, remedy)]


def opencv_in_place(versions: Versions) -> str | None:
    """Returns the variant of OpenCV whose ``cv2/version.py`` is there: it is another in each."""
    return next((name for name in _OPENCV if name in versions and _is_in_place(name, 'cv2/version.py')), None)


def _is_in_place(distribution: str, name: str) -> bool:
    for file in importlib.metadata.files(distribution) or ():
        if file.as_posix() == name and file.hash is not None and Path(str(file.locate())).is_file():
            digest = urlsafe_b64encode(sha256(file.read_binary()).digest()).decode()
            return digest.rstrip('=') == file.hash.value
    return False


def check_holes(versions: Versions) -> list[Finding]:
    """Finds versions with a known vulnerability, among packages that no requirement of ours keeps from them."""
    return [Finding(severity, 'vulnerable', name, f'version {versions[name]} has {hole}', f'pip install "{cure}"')
            for name, affected, severity, hole, cure in _HOLES
            if name in versions and in_range(versions[name], affected)]


def check_usable(requirements: 'Sequence[Requirement]', deadline: float) -> list[Finding]:
    """Tries installed packages, and finds those that raise, die or hang.

    Args:
        requirements: What to try; torchcodec, an extra, is worth a warning only.
        deadline: Seconds after which what does not return is given up.
    """
    targets = [_TARGETS.get(canonical(requirement), requirement.name.replace('-', '_'))
               for requirement in requirements]
    return [Finding(Severity.WARNING if requirement.name == 'torchcodec' else Severity.ERROR, 'unusable',
                    requirement.name, outcome.failure, _repair(requirement, outcome.failure))
            for requirement, outcome in zip(requirements, try_in_children(targets, deadline), strict=True)
            if outcome.failure is not None]


def _repair(requirement: 'Requirement', failure: str) -> str:
    if requirement.name == 'torchcodec':
        return 'install the version of torchcodec that is made for this torch, or pip uninstall -y torchcodec'
    if failure.startswith('ModuleNotFoundError'):
        return f'pip install {_quoted(requirement)}, which brings what it needs'
    reinstall = f'pip install --force-reinstall --no-deps {_quoted(requirement)}'
    if 'cannot open shared object file' in failure:
        return f'install the system library that it names, or {reinstall}'
    return reinstall


def canonical(requirement: 'Requirement') -> str:
    """Returns the canonical name of what is required."""
    from packaging.utils import canonicalize_name

    return canonicalize_name(requirement.name)


def _quoted(requirement: 'Requirement') -> str:
    return f'"{requirement.name}{requirement.specifier}"'


def _listed(names: Iterable[str], versions: Versions) -> str:
    return ' and '.join(f'{name} {versions[name]}' for name in names)
