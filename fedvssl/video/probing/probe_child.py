"""Runs probes for ``probe_pool.py``, in a process that can be killed. Imports no torch."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from fedvssl.video.errors import BackendUnavailableError
from fedvssl.video.probing.probe import probe
from fedvssl.video.processes.serve import serve


def answer(request: dict[str, Any]) -> tuple[dict[str, Any], None]:
    """Answers ``{path, quick}`` with ``{facts}``, or with ``{unavailable}`` where a decoder is missing."""
    try:
        return {'facts': asdict(probe(Path(request['path']), request['quick']))}, None
    except BackendUnavailableError as error:
        return {'unavailable': [error.backend, error.reason, error.remedy]}, None


if __name__ == '__main__':
    serve(answer)
