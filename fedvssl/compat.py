"""Work-arounds for dependencies, each with the version it can go away at."""

import importlib
import importlib.util
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

from fedvssl.errors import CheckpointError

_MISSING_MODULE = 'mmaction.models.localizers.drn.drn'


def import_mmaction_models() -> ModuleType:
    """Imports ``mmaction.models``, whose 1.2.0 wheel lacks the package ``localizers/drn``.

    An empty `DRN` (a temporal localiser that nothing here uses) stands in for it, and refuses to be built. Can go when
    mmaction2 ships the package again.
    """
    if 'mmaction.models' not in sys.modules and _lacks_drn():

        class DRN:
            """Placeholder for a class that mmaction2 1.2.0 forgot to ship."""

            def __init__(self, *args: Any, **kwargs: Any) -> None:
                raise NotImplementedError('mmaction2 1.2.0 does not contain the DRN localiser')

        package = ModuleType(_MISSING_MODULE.rpartition('.')[0])
        package.__path__ = []
        module = ModuleType(_MISSING_MODULE)
        module.DRN = DRN  # type: ignore[attr-defined]
        sys.modules[package.__name__] = package
        sys.modules[_MISSING_MODULE] = module
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='Fail to import')  # mmcv-lite says that it is not mmcv
        return importlib.import_module('mmaction.models')


def _lacks_drn() -> bool:
    spec = importlib.util.find_spec('mmaction')
    return spec is not None and spec.origin is not None and not (
        Path(spec.origin).parent / 'models/localizers/drn/drn.py').is_file()


def load_pth(path: Path) -> Any:
    """Reads a ``.pth`` file without ever executing what is in it.

    ``weights_only=True`` is explicit at the call, so that ``TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD`` cannot turn it off.

    Raises:
        CheckpointError: If the file holds anything but tensors and plain containers, or is damaged.
    """
    import torch

    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # torch raises half a dozen types for damaged or unsafe files
        reason = str(error).partition('\n')[0]
        raise CheckpointError(f'{path}: not a file of plain tensors, or damaged; nothing in it was executed '
                              f'({type(error).__name__}: {reason})') from error
