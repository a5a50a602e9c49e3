"""Writing a converted backbone, as a whole or not at all."""

import io
from pathlib import Path

import torch
from safetensors.torch import save

from fedvssl.commit import write_file
from fedvssl.errors import ConfigError
from fedvssl.weights.converting import Conversion

SUFFIXES = ('.safetensors', '.pth')


def check_target(file: Path, force: bool) -> None:
    """Refuses a file name before any work is done for it.

    Raises:
        ConfigError: If the suffix says no format, or something is there that may not be replaced.
    """
    if file.suffix not in SUFFIXES:
        raise ConfigError(f'{file}: the suffix must say the format, {" or ".join(SUFFIXES)}')
    if file.is_dir() or file.exists() and not force:
        raise ConfigError(f'{file}: is there already; choose another name' + ('' if file.is_dir() else ', or --force'))


def write_conversion(conversion: Conversion, file: Path, force: bool = False) -> int:
    """Writes a backbone and returns the size of the file.

    ``.safetensors`` holds the tensors, with the notes as metadata; ``.pth`` a plain state dict for torchvision, else
    mmengine's form, a dictionary of ``state_dict`` and ``meta``.

    Args:
        conversion: The backbone.
        file: Where it goes; the suffix chooses the format.
        force: Whether to replace a file that is there.

    Raises:
        ConfigError: As `check_target`.
        StorageError: If it cannot be written.
    """
    check_target(file, force)
    content = _encode(conversion, file.suffix)
    write_file(file, content)
    return len(content)


def _encode(conversion: Conversion, suffix: str) -> bytes:
    # Copies: a view would take the whole of its storage along.
    tensors = {name: tensor.clone(memory_format=torch.contiguous_format)
               for name, tensor in conversion.tensors.items()}
    about = dict(converted_by='fedvssl', backbone=str(conversion.network))
    if suffix == '.safetensors':
        return save(tensors, metadata=dict(about, notes='\n'.join(conversion.notes)))
    content: dict = tensors
    if conversion.target != 'torchvision':
        content = dict(state_dict=tensors, meta=dict(about, notes=list(conversion.notes)))
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()
