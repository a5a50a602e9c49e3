"""Sets of images: what readers make of files, and how the rest of the package sees them."""

from fedvssl.data.images.cifar import CIFAR
from fedvssl.data.images.folder import ImageFolder
from fedvssl.data.images.generated import GeneratedImages
from fedvssl.data.images.npz import NPZ
from fedvssl.data.images.packed import PackedImages

__all__ = ['CIFAR', 'NPZ', 'GeneratedImages', 'ImageFolder', 'PackedImages']
