"""The one local training loop, its schedules and its hooks."""

from fedvssl.training.schedules import ConstantSchedule, CosineSchedule, StepSchedule

__all__ = ['ConstantSchedule', 'CosineSchedule', 'StepSchedule']
