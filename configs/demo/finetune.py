# Demo: fine-tuning on the 240 labelled training videos, test on 400, by the published test protocol in small.
#   python tools/finetune.py configs/demo/finetune.py --pretrained work_dirs/demo
# Result (one core each, about 40 s, three seeds): top-1 42.7 % from the federated backbone, 36.3 % from scratch; see
# table.json beside this file.
# No flip: it would swap two of the classes.
_base_ = ['../_base_/models/tiny_r3d18.py', '../_base_/data/demo.py']
model = dict(type='Recognizer', head=dict(type='mmaction.I3DHead', num_classes=8, dropout_ratio=0.0, init_std=0.01))
data = dict(
    train=dict(sampler=dict(type='RandomClipSampler', clip_length=8, stride=1)),
    test=dict(sampler=dict(type='MidTickSampler', clip_length=8, stride=1, num_clips=10)),
    batch_size=16,
    test_batch_size=8,
)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.001, weight_decay=0.01),
                     clip_grad=dict(max_norm=40))
schedule = dict(type='StepSchedule', milestones=[0.6, 0.85], gamma=0.1)
training = dict(epochs=20, evaluate_every=10)
