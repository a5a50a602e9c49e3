"""What a result was computed with: versions and hardware, for every file of figures that a tool writes."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = ('fedvssl', 'torch', 'numpy', 'mmengine', 'mmcv-lite', 'mmaction2', 'flwr', 'av', 'decord', 'opencv-python')


def describe_environment() -> dict[str, Any]:
    """Returns package versions, processor, cores and threads as JSON values."""
    import torch

    return dict(
        python=platform.python_version(),
        packages={name: _version(name) for name in PACKAGES},
        machine=platform.machine(),
        processor=_processor(),
        cores=os.cpu_count(),
        torch_threads=torch.get_num_threads(),
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        with open('/proc/cpuinfo') as stream:  # noqa: PTH123 - not a file of ours
            names = [line.partition(':')[2].strip() for line in stream if line.startswith('model name')]
    except OSError:
        names = []
    return names[0] if names else platform.processor()
