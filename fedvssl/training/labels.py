"""Which labels a model gets to see."""

from collections.abc import Mapping, Sequence
from typing import Any

from fedvssl.data.annotations import UNLABELLED, Video
from fedvssl.data.dataset import without_labels
from fedvssl.errors import DataListError
from fedvssl.registry import MODELS


def visible(model: Mapping[str, Any], videos: Sequence[Video]) -> list[Video]:
    """Takes the labels off what a model is pretrained on, unless it is a method that learns from them (SupCon).

    Args:
        model: Config of the model.
        videos: With their labels.

    Raises:
        DataListError: If it needs labels, and one is missing.
    """
    if not getattr(MODELS.get(model['type']), 'needs_labels', False):
        return without_labels(videos)
    missing = next((video for video in videos if video.label == UNLABELLED), None)
    if missing is not None:
        raise DataListError(f'{missing.path} (line {missing.line} of its list) has no label, and {model["type"]} '
                            f'learns from labels; label it, or take a method that needs none, such as SimCLR')
    return list(videos)
