"""Images from a ``.npz`` file of plain arrays."""

from pathlib import Path

import numpy as np

from fedvssl.data.images.arrays import ImageArrays
from fedvssl.data.images.reader import ImageReader
from fedvssl.errors import ConfigError, DataListError
from fedvssl.registry import IMAGES

# Images and labels as usual sets call them: MedMNIST's and ours, Keras's.
_SPELLINGS = (('{}_images', '{}_labels'), ('x_{}', 'y_{}'))


@IMAGES.register_module()
class NPZ(ImageReader):
    """Reads ``train_images``, ``train_labels``, ``test_images``, ``test_labels`` (or ``x_train``, ``y_train``, ...).

    Images are uint8 (n, H, W, 3); grey ones, (n, H, W) or (n, H, W, 1), get three equal channels. Labels are integers
    (n,) or (n, 1). An array ``classes`` of texts may name the classes.

    Args:
        file: The file, relative to the data root.
        train_images: See `ImageReader`.
        test_images: See `ImageReader`.
    """

    def __init__(self, file: str = 'images.npz', train_images: int | None = None,
                 test_images: int | None = None) -> None:
        super().__init__(train_images, test_images)
        if Path(file).suffix != '.npz':
            raise ConfigError(f'NPZ: file ends in .npz, unlike {file!r}')
        self.file = file

    def files(self, root: Path) -> list[Path]:
        """Returns the file."""
        file = Path(root) / self.file
        if not file.is_file():
            raise DataListError(f'{file}: no such file; check data.root and data.images.file')
        return [file]

    def _read(self, root: Path, split: str) -> ImageArrays:
        file, = self.files(root)
        try:
            # Arrays of objects are pickles, which this refuses.
            with np.load(file, allow_pickle=False) as arrays:
                keys = _keys(list(arrays), split, file)
                pixels, labels = (arrays[key] for key in keys)
                classes = tuple(str(name) for name in arrays['classes'].reshape(-1)) if 'classes' in arrays else ()
        except DataListError:
            raise
        except Exception as error:  # zipfile, zlib and numpy have a dozen types for damaged files
            raise DataListError(f'{file}: not a file of plain arrays, or damaged ({type(error).__name__}: {error})'
                                ) from error
        numbers = _labels(labels, f'{file}: {keys[1]}')
        rows = self._rows(numbers, len(classes) or int(numbers.max(initial=0)) + 1, split, file)
        checked = ImageArrays(_coloured(pixels), numbers, classes, source=f'{file}: {keys[0]}')
        return ImageArrays(checked.pixels[rows], numbers[rows], classes, source=file)


def _keys(there: list[str], split: str, file: Path) -> tuple[str, str]:
    for images, labels in _SPELLINGS:
        pair = images.format(split), labels.format(split)
        if set(pair) <= set(there):
            return pair
    raise DataListError(f'{file}: has no {split}_images and {split}_labels; there are '
                        f'{", ".join(there) or "no arrays"}')


def _labels(labels: np.ndarray, source: str) -> np.ndarray:
    if labels.dtype.kind not in 'iu' or labels.shape not in ((len(labels),), (len(labels), 1)):
        raise DataListError(f'{source}: labels are integers (n,) or (n, 1), not {labels.dtype} {labels.shape}')
    return labels.reshape(-1).astype(np.int64)


def _coloured(pixels: np.ndarray) -> np.ndarray:
    """Returns grey images with three equal channels, others as they are."""
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    return np.repeat(pixels, 3, axis=3) if pixels.ndim == 4 and pixels.shape[3] == 1 else pixels
