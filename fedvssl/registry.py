"""Child registries of mmengine's, scope ``fedvssl``.

A class meets a config only through ``Registry.build(dict(type=...))``. Pieces of other OpenMMLab packages keep their
scope in the config: ``type='mmaction.I3DHead'``.
"""

from collections.abc import Mapping
from typing import Any

from mmengine import registry as root
from mmengine.registry import Registry

from fedvssl.errors import ConfigError

SCOPE = 'fedvssl'


def _child(name: str, parent: Registry, location: str) -> Registry:
    return Registry(name, parent=parent, scope=SCOPE, locations=[location])


MODELS = _child('model', root.MODELS, 'fedvssl.models')
TRANSFORMS = _child('transform', root.TRANSFORMS, 'fedvssl.data')
SCHEDULES = _child('parameter scheduler', root.PARAM_SCHEDULERS, 'fedvssl.training')
OPTIMIZERS = _child('optimizer', root.OPTIMIZERS, 'fedvssl.training.optimizers')

# What mmengine has no registry for.
SAMPLERS = Registry('clip sampler', scope=SCOPE, locations=['fedvssl.data'])
IMAGES = Registry('image set', scope=SCOPE, locations=['fedvssl.data.images'])
PARTITIONERS = Registry('partitioner', scope=SCOPE, locations=['fedvssl.data'])
STRATEGIES = Registry('strategy', scope=SCOPE, locations=['fedvssl.federated'])
MONITORS = Registry('monitor', scope=SCOPE, locations=['fedvssl.evaluation.monitors', 'fedvssl.federated.updates'])


def build(registry: Registry, cfg: Mapping[str, Any], key: str, **arguments: Any) -> Any:
    """Builds a part of a config.

    Args:
        registry: Where its ``type`` is registered.
        cfg: The part.
        key: Its dotted key, for messages.
        arguments: Further arguments that the config does not give.

    Raises:
        ConfigError: If the part refuses its arguments.
    """
    try:
        return _build(registry, {**cfg, **arguments})
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ConfigError(f'{key}: cannot build {cfg.get("type")!r}: {error}') from error


def _build(registry: Registry, cfg: dict[str, Any]) -> Any:
    """Builds what is ours and known directly: mmengine imports torch to log that it does, which takes a second."""
    own = registry.module_dict.get(cfg.get('type')) if '_scope_' not in cfg else None
    if own is None:
        return registry.build(cfg)
    return own(**{name: value for name, value in cfg.items() if name != 'type'})
