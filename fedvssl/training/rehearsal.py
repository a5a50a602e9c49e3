"""One sample through everything before a run: what would fail at the first step, or train on something else."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedvssl.data.annotations import UNLABELLED
from fedvssl.data.dataset import REPLACEMENTS, ClipDataset, Dataset
from fedvssl.data.loader import build_loader
from fedvssl.data.sampling import Sampler
from fedvssl.errors import ConfigError, FedVSSLError
from fedvssl.models import BackboneModel, ClipClassifier
from fedvssl.models.preprocessor import BatchAugment


def rehearse(model: BackboneModel, dataset: Dataset, seed: int, key: str) -> None:
    """Passes the first readable sample of a dataset without labels through loss, prediction and score.

    The model is left in evaluation mode, otherwise as it was. Where none of the first few videos is readable nothing is
    tried: the run itself counts and names them.

    Args:
        model: The pretext model.
        dataset: Where the sample comes from.
        seed: Seed of the run.
        key: Dotted key of the phase, e.g. ``data.train``, for messages.

    Raises:
        ConfigError: If sampler, transforms and model do not go together, or nothing makes the target.
    """
    name = type(model).__name__
    if model.wants_independent_clips and key == 'data.train' and not dataset.independent_clips:
        raise ConfigError(f'{key}.independent_clips: {name} needs True; clips that are cropped and coloured alike can '
                          f'be matched by that alone')
    first = np.arange(min(len(dataset), REPLACEMENTS))
    size = 1 if isinstance(dataset, ClipDataset) else 2  # a loss on images may standardise over the batch
    batch = next(build_loader(dataset, size).in_order(first, seed, 'rehearsal'), None)
    if batch is None:
        return
    model.eval()
    try:
        with torch.inference_mode():
            data = model.data_preprocessor(batch)
            target = data['data_samples']['target']
            if model.wants_target and (target == UNLABELLED).all():
                raise ConfigError(f'{key}.sampler: neither {type(dataset.sampler).__name__} nor '
                                  f'model.data_preprocessor.augments make the target that {name} is to learn, and '
                                  f'pretraining does not read labels; take the sampler of a pretext task, or '
                                  f'tools/finetune.py to train on labels')
            predictions = model(**data, mode='predict')
            _require_outputs(predictions, dataset.sampler, model, key)
            model(**data, mode='loss')
            model.score(predictions.cpu(), target.cpu())
    except FedVSSLError:
        raise
    except Exception as error:  # whatever a network raises for shapes and classes that do not fit
        shape = ' x '.join(map(str, batch['inputs'].shape[1:-1]))
        axes = 'height x width' if batch['inputs'].ndim == 4 else 'clips x frames x height x width'
        raise ConfigError(f'model: a sample of {key}, {shape} ({axes}), does not go through '
                          f'{name}: {type(error).__name__}: {error}; do sampler, transforms, head and backbone belong '
                          f'together?') from error


def require_same_classes(train: Dataset, test: Dataset) -> None:
    """Checks that a target means the same in training and on held-out videos.

    Raises:
        ConfigError: If the two samplers count different classes.
    """
    ours, theirs = (getattr(dataset.sampler, 'classes', None) for dataset in (train, test))
    if ours != theirs:
        raise ConfigError(f'data.test.sampler: its classes are {theirs}, those of data.train.sampler {ours}; give both '
                          f'the same')


def target_classes(augments: Sequence[BatchAugment], sampler: Sampler | None) -> Sequence | None:
    """Returns the classes of whatever makes the pretext target; None where it is no class, or each sample its own."""
    return getattr(_target_maker(augments, sampler), 'classes', None)


def _target_maker(augments: Sequence[BatchAugment], sampler: Sampler | None) -> Any:
    return next((maker for maker in (*reversed(augments), sampler) if hasattr(maker, 'classes')), None)


def _require_outputs(predictions: Tensor, sampler: Sampler | None, model: BackboneModel, key: str) -> None:
    """Checks that a classifier has one output for each class of whoever makes the target."""
    maker = _target_maker(model.data_preprocessor.augments, sampler)
    if maker is None or not isinstance(model, ClipClassifier) or predictions.shape[1] == len(maker.classes):
        return
    raise ConfigError(f'model.head: has {predictions.shape[1]} outputs, {type(maker).__name__} of {key} makes '
                      f'{len(maker.classes)} classes: {list(maker.classes)}')
