"""The views of each method, as published; configs of augmentations for `build_views`.

| method | crop scale | jitter b, c, s, h; p | grey | blur p | solarise p | source |
|---|---|---|---|---|---|---|
| simclr, simclrv2 | .08-1 | .8, .8, .8, .2; .8 | .2 | .5 | - | SimCLR (ICML 2020), appendix A: strength 1 |
| supcon | .2-1 | .4, .4, .4, .1; .8 | .2 | - | - | authors' code (HobbitLong/SupContrast) |
| simsiam, mocov2 | .2-1 | .4, .4, .4, .1; .8 | .2 | .5 | - | authors' code (facebookresearch/simsiam, moco) |
| mocov1 | .2-1 | .4, .4, .4, .4; 1 | .2 | - | - | authors' code (moco, without --aug-plus); grey first |
| byol, mocov3, barlow_twins | .08-1 | .4, .4, .2, .1; .8 | .2 | 1 / .1 | 0 / .2 | BYOL (NeurIPS 2020), appendix B |
| dino, two global | .4-1 | .4, .4, .2, .1; .8 | .2 | 1 / .1 | 0 / .2 | authors' code (facebookresearch/dino) |
| dino, local | .05-.4 | .4, .4, .2, .1; .8 | .2 | .5 | - | the same |
| swav, two global | .14-1 | .8, .8, .8, .2; .8 | .2 | .5 | - | authors' code; mmpretrain's config |
| swav, local | .05-.14 | .8, .8, .8, .2; .8 | .2 | .5 | - | the same |

Two values with a stroke are those of the first and the second view. Every crop is flipped with probability .5, blur has
σ from .1 to 2 pixels. Local views have 3/7 of the side, 96 of 224 pixels.

Images of up to 64 pixels (CIFAR):

- no blur (SimCLR, appendix B.9; SimSiam, appendix D; lightly and, for the asymmetric methods, solo-learn likewise);
- simclr, simclrv2: jitter of strength .5, .4, .4, .4, .1 (SimCLR, appendix B.9);
- local views have 18 of 32 pixels, scale .08-.5, beside global ones of scale .2-1 (solo-learn; 3/7 would be 13 pixels).
"""

from typing import Any

from fedvssl.errors import ConfigError, suggest
from fedvssl.models.augments.image.op import require_size

View = list[dict[str, Any]]

SMALL = 64  # largest side in pixels that counts as CIFAR-like

STRONG = (0.8, 0.8, 0.8, 0.2)
HALF = (0.4, 0.4, 0.4, 0.1)
WEAK_SATURATION = (0.4, 0.4, 0.2, 0.1)

SCALES = dict(simclr=(0.08, 1.0), simclrv2=(0.08, 1.0), supcon=(0.2, 1.0), simsiam=(0.2, 1.0), mocov1=(0.2, 1.0),
              mocov2=(0.2, 1.0), byol=(0.08, 1.0), mocov3=(0.08, 1.0), barlow_twins=(0.08, 1.0), dino=(0.4, 1.0),
              swav=(0.14, 1.0))
LOCAL_SCALES = dict(dino=(0.05, 0.4), swav=(0.05, 0.14))
SMALL_GLOBAL_SCALE, SMALL_LOCAL_SCALE = (0.2, 1.0), (0.08, 0.5)
JITTERS = dict(simclr=STRONG, simclrv2=STRONG, swav=STRONG, supcon=HALF, simsiam=HALF, mocov2=HALF,
               byol=WEAK_SATURATION, mocov3=WEAK_SATURATION, barlow_twins=WEAK_SATURATION, dino=WEAK_SATURATION)
ASYMMETRIC = ('byol', 'mocov3', 'barlow_twins', 'dino')
BLURS = dict(simclr=0.5, simclrv2=0.5, simsiam=0.5, mocov2=0.5, swav=0.5)  # of both views; else none


def method_views(method: str, image_size: int, local_views: int = 6) -> list[View]:
    """Returns the views of a method: two, and with SwAV and DINO local ones after them.

    Args:
        method: Name, a key of the table.
        image_size: Side of the global views in pixels.
        local_views: Number of local views, of the methods that have them.

    Raises:
        ConfigError: If the method is unknown, or a number is out of range.
    """
    if method not in SCALES:
        raise ConfigError(f'method_views: no augmentation is known for {method!r}{suggest(method, SCALES)}')
    require_size('method_views', image_size=image_size)
    if not isinstance(local_views, int) or local_views < 0:
        raise ConfigError(f'method_views: local_views must be a whole number, at least 0, not {local_views!r}')
    small, multi_crop = image_size <= SMALL, method in LOCAL_SCALES
    scale = SMALL_GLOBAL_SCALE if small and multi_crop else SCALES[method]
    views = [_crop(image_size, scale) + _colours(method, number, small) for number in range(2)]
    if multi_crop:
        size = round(image_size * (18 / 32 if small else 3 / 7))
        local = _crop(size, SMALL_LOCAL_SCALE if small else LOCAL_SCALES[method]) + _colours(method, 2, small)
        views += [[dict(op) for op in local] for _ in range(local_views)]
    return views


def training_views(image_size: int) -> list[View]:
    """Returns the one view that fine-tuning and linear probes train on: a crop of scale .08-1, and the flip."""
    require_size('training_views', image_size=image_size)
    return [_crop(image_size, (0.08, 1.0))]


def _crop(size: int, scale: tuple[float, float]) -> View:
    return [dict(type='ResizedCrop', size=size, scale=scale, flip=0.5)]


def _colours(method: str, number: int, small: bool) -> View:
    """Returns what follows the crop in the view of a number: 0, 1, or 2 for a local one."""
    if method == 'mocov1':
        return [dict(type='Grayscale', p=0.2), _jitter((0.4, 0.4, 0.4, 0.4), p=1.0)]
    weaker = small and method in ('simclr', 'simclrv2')
    ops = [_jitter(HALF if weaker else JITTERS[method], p=0.8), dict(type='Grayscale', p=0.2)]
    asymmetric = method in ASYMMETRIC
    blur = (1.0, 0.1, 0.5)[number] if asymmetric else BLURS.get(method, 0.0)
    if blur and not small:
        ops.append(dict(type='GaussianBlur', p=blur, sigma=(0.1, 2.0)))
    if asymmetric and number == 1:
        ops.append(dict(type='Solarize', p=0.2, threshold=0.5))
    return ops


def _jitter(strengths: tuple[float, float, float, float], p: float) -> dict[str, Any]:
    brightness, contrast, saturation, hue = strengths
    return dict(type='ColorJitter', brightness=brightness, contrast=contrast, saturation=saturation, hue=hue, p=p)
