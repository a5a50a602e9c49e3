"""Sets of images: what readers make of files, and how the rest of the package sees them."""

from fedvssl.data.images.generated import GeneratedImages

__all__ = ['GeneratedImages']
