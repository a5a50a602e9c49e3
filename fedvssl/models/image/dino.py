r"""DINO: a student predicts the output of its own slow copy, the teacher, on other views.

    loss = mean over big views g and all views v ≠ g of -softmax((t_g - c) / τ_t) · log softmax(s_v / τ_s)

The teacher sees the two big views only. Against collapse its outputs are centred, c ← 0.9 c + 0.1 mean(t), and
sharpened: τ_t rises from 0.04 to 0.07 over `warmup` of the run, τ_s = 0.1. Head: h-2048, GELU, 2048-2048, GELU,
2048-256, length 1, then K directions (`Prototypes`), which stay as they are in the first `freeze` of the run. Teacher:
m from 0.996 to 1 along half a cosine. Gradients are clipped at 3 in the paper.

Source: Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", ICCV 2021.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedvssl.models.image.base import ImageModel, Views, require_positive
from fedvssl.models.image.prototypes import Prototypes
from fedvssl.models.image.slow_copy import SlowCopy
from fedvssl.registry import MODELS

CENTRE_DECAY = 0.9


def dino_loss(student: list[Tensor], teacher: list[Tensor], centre_K: Tensor, student_temperature: float,
              teacher_temperature: float) -> Tensor:
    """Returns the loss, a scalar.

    Args:
        student: Outputs (N, K) for each view, the teacher's views first.
        teacher: Outputs (N, K) for the big views; they get no gradient.
        centre_K: What is subtracted from the teacher's outputs.
        student_temperature: τ_s.
        teacher_temperature: τ_t.
    """
    wanted = [F.softmax((output.detach() - centre_K) / teacher_temperature, dim=1) for output in teacher]
    found = [F.log_softmax(output / student_temperature, dim=1) for output in student]
    return torch.stack([-(q * p).sum(dim=1).mean() for g, q in enumerate(wanted)
                        for v, p in enumerate(found) if v != g]).mean()


@MODELS.register_module()
class DINO(ImageModel):
    """Self-distillation; two big views, and any number of small ones.

    Args:
        backbone: Config of the backbone.
        neck: Config of the projector.
        data_preprocessor: Config of the preprocessor.
        num_prototypes: K.
        student_temperature: τ_s.
        teacher_temperature: τ_t after the warm-up.
        first_teacher_temperature: τ_t at the beginning.
        warmup: Share of the run over which τ_t rises.
        freeze: Share of the run in which the last layer does not move.
        ema_decay: m at the beginning of the run.
        final_ema_decay: m at its end.

    Attributes:
        centre: c, (K,).
    """

    client_local = frozenset({'teacher', 'centre'})
    centre: Tensor

    def __init__(self, backbone: dict, neck: dict, data_preprocessor: dict, num_prototypes: int = 65536,
                 student_temperature: float = 0.1, teacher_temperature: float = 0.07,
                 first_teacher_temperature: float = 0.04, warmup: float = 0.3, freeze: float = 0.01,
                 ema_decay: float = 0.996, final_ema_decay: float = 1.0) -> None:
        super().__init__(backbone, neck, data_preprocessor)
        self.student_temperature = require_positive('student_temperature', student_temperature)
        self.teacher_temperatures = (require_positive('first_teacher_temperature', first_teacher_temperature),
                                     require_positive('teacher_temperature', teacher_temperature))
        self.warmup, self.freeze = warmup, freeze
        self.prototypes = Prototypes(self.neck.out_channels, num_prototypes)
        self.teacher = SlowCopy(dict(backbone=self.backbone, neck=self.neck, prototypes=self.prototypes), ema_decay,
                                final_ema_decay)
        self.register_buffer('centre', torch.zeros(num_prototypes))
        self._progress = 0.0

    def init_weights(self) -> None:
        """Initialises the network, the projector from N(0, 0.02) without biases, and makes the teacher equal to it."""
        super().init_weights()
        for layer in self.neck.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.teacher.copy_from(self)

    @property
    def teacher_temperature(self) -> float:
        """τ_t at the current step."""
        first, last = self.teacher_temperatures
        return last if self._progress >= self.warmup else first + (last - first) * self._progress / self.warmup

    def before_step(self, progress: float) -> None:
        """Sets temperature and last layer; a client's very first teacher is the network as it was received."""
        self._progress = progress
        self.prototypes.requires_grad_(progress >= self.freeze)
        self.teacher.begin(self)

    def after_step(self, progress: float) -> None:
        """Moves the teacher."""
        self.teacher.follow(self, progress)

    def loss(self, inputs: Views, data_samples: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns the loss; in training mode the centre moves afterwards."""
        views = self.views(inputs)
        student = [self.prototypes(z) for z in self.embed_all(views)]
        with torch.no_grad():
            outputs_NK = self.teacher['prototypes'](self.teacher.embed(torch.cat(views[:2])))
        loss = dino_loss(student, list(outputs_NK.chunk(2)), self.centre, self.student_temperature,
                         self.teacher_temperature)
        if self.training:
            self.centre.lerp_(outputs_NK.mean(dim=0).to(self.centre.dtype), 1 - CENTRE_DECAY)
        return dict(loss=loss)
