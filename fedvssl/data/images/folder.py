"""Images from folders: ``root/split/class/picture.png``."""

from pathlib import Path

import numpy as np

from fedvssl.data.images.arrays import ImageArrays
from fedvssl.data.images.pictures import decode, fit
from fedvssl.data.images.reader import SPLITS, ImageReader
from fedvssl.errors import ConfigError, DataListError
from fedvssl.registry import IMAGES

SUFFIXES = frozenset({'.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp'})


@IMAGES.register_module()
class ImageFolder(ImageReader):
    """Reads all pictures of a split; its folders are the classes, in sorted order.

    Args:
        size: Height and width of every image in pixels.
        resize: Scale the short side of other pictures to `size` and cut out the middle, rather than refuse them.
        train_images: See `ImageReader`.
        test_images: See `ImageReader`.

    Raises:
        ConfigError: If an argument is out of its range.
    """

    def __init__(self, size: int = 32, resize: bool = False, train_images: int | None = None,
                 test_images: int | None = None) -> None:
        super().__init__(train_images, test_images)
        if type(size) is not int or size < 1:
            raise ConfigError(f'ImageFolder: size is a number of pixels, 1 or more, not {size!r}')
        self.size, self.resize = size, resize

    def files(self, root: Path) -> list[Path]:
        """Returns all pictures, in the order of their paths; with those paths they are the set."""
        splits = [Path(root) / split for split in SPLITS if (Path(root) / split).is_dir()]
        if not splits:
            raise DataListError(f'{root}: has no folder train or test with a folder for each class')
        return [file for folder in splits for name in _classes(folder) for file in _pictures(folder / name)]

    def _read(self, root: Path, split: str) -> ImageArrays:
        folder = root / split
        classes = _checked_classes(root, split)
        files = [file for name in classes for file in _pictures(folder / name)]
        numbers = {name: number for number, name in enumerate(classes)}
        labels = np.array([numbers[file.parent.name] for file in files], np.int64)
        rows = self._rows(labels, len(classes), split, folder)
        chosen = [files[row] for row in rows]
        pixels = np.empty((len(chosen), self.size, self.size, 3), np.uint8)
        for row, file in enumerate(chosen):
            pixels[row] = self._picture(file)
        return ImageArrays(pixels, labels[rows], classes, tuple(f'{file.parent.name}/{file.name}' for file in chosen),
                           folder)

    def _picture(self, file: Path) -> np.ndarray:
        try:
            picture = decode(file.read_bytes())
        except (OSError, ValueError) as error:
            raise DataListError(f'{file}: {error}; mend or remove it') from error
        if picture.shape[:2] == (self.size, self.size):
            return picture
        if not self.resize:
            height, width = picture.shape[:2]
            raise DataListError(f'{file}: has {width}x{height} pixels instead of {self.size}x{self.size}; set '
                                f'data.images.size, or data.images.resize=True to scale and cut')
        return fit(picture, self.size)


def _checked_classes(root: Path, split: str) -> tuple[str, ...]:
    """Returns the classes of a split, which those of the other split, if there is one, must equal."""
    if not (root / split).is_dir():
        raise DataListError(f'{root / split}: no such folder; it must hold a folder for each class')
    classes = {name: _classes(root / name) for name in SPLITS if (root / name).is_dir()}
    if len({*classes.values()}) > 1:
        alone = {name: sorted(set(own) - set(classes[other])) for (name, own), other
                 in zip(classes.items(), reversed(SPLITS), strict=True)}
        told = '; '.join(f'only in {name}: {", ".join(names)}' for name, names in alone.items() if names)
        raise DataListError(f'{root}: train and test have different classes; {told}')
    empty = [name for name in classes[split] if not _pictures(root / split / name)]
    if empty or not classes[split]:
        found = f'no pictures in {", ".join(empty)}' if empty else 'no folders'
        raise DataListError(f'{root / split}: {found}; it must hold a folder of pictures '
                            f'({", ".join(sorted(SUFFIXES))}) for each class')
    return classes[split]


def _classes(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith('.')))


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir()
                  if path.suffix.lower() in SUFFIXES and not path.name.startswith('.') and path.is_file())
