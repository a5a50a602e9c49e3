"""One sample through everything before a run: what would fail at the first step, or train on something else."""

import torch

from fedvssl.data.annotations import UNLABELLED
from fedvssl.data.dataset import ClipDataset
from fedvssl.data.loader import collate
from fedvssl.errors import ConfigError, FedVSSLError
from fedvssl.models import VideoModel


def rehearse(model: VideoModel, dataset: ClipDataset, seed: int, key: str) -> None:
    """Passes the first readable sample of a dataset without labels through loss, prediction and score.

    The model is left in evaluation mode, otherwise as it was. Where no video is readable nothing is tried: the run
    itself counts and names them.

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
    samples = (dataset.load(index, seed, 'rehearsal') for index in range(len(dataset)))
    sample = next((sample for sample in samples if sample is not None), None)
    if sample is None:
        return
    model.eval()
    try:
        with torch.inference_mode():
            data = model.data_preprocessor(collate([sample]))
            target = data['data_samples']['target']
            if model.wants_target and (target == UNLABELLED).all():
                raise ConfigError(f'{key}.sampler: neither {type(dataset.sampler).__name__} nor '
                                  f'model.data_preprocessor.augments make the target that {name} is to learn, and '
                                  f'pretraining does not read labels; take the sampler of a pretext task, or '
                                  f'tools/finetune.py to train on labels')
            model(**data, mode='loss')
            model.score(model(**data, mode='predict').cpu(), target.cpu())
    except FedVSSLError:
        raise
    except Exception as error:  # whatever a network raises for shapes and classes that do not fit
        shape = ' x '.join(map(str, sample['inputs'].shape[:-1]))
        raise ConfigError(f'model: a sample of {key}, {shape} (clips x frames x height x width), does not go through '
                          f'{name}: {type(error).__name__}: {error}; do sampler, transforms, head and backbone belong '
                          f'together?') from error
