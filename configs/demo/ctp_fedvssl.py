# Demo: federated CtP pretraining (where do the pasted patches go?) on generated videos, 2 of 4 clients a round.
#   python tools/fed_train.py configs/demo/ctp_fedvssl.py --work-dir work_dirs/demo-ctp
# Needs data/demo (scripts/generate_videos.py). Result: not run.
_base_ = ['../_base_/models/tiny_r3d18.py', '../_base_/data/demo.py']
model = dict(
    type='CtP',
    backbone=dict(spatial_strides=(1, 2, 2, 1)),
    head=dict(type='CtPHead', clip_length=8),
    data_preprocessor=dict(augments=[
        dict(type='PastePatches'),
        dict(type='BatchHueSaturation', p=0.25, hue=12, saturation=0.1),
        dict(type='DynamicBrightness', p=0.5, delta=30),
        dict(type='DynamicContrast', p=0.5, delta=0.12),
    ]),
)
data = dict(
    train=dict(sampler=dict(type='RandomClipSampler', clip_length=8, stride=[1, 2, 3], jitter=True)),
    test=dict(sampler=dict(type='RandomClipSampler', clip_length=8, stride=[1, 2, 3], jitter=True)),
    partition=dict(type='IIDPartitioner', num_clients=4),
    batch_size=8,
    test_batch_size=20,
)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.001, weight_decay=0.01),
                     clip_grad=dict(max_norm=40))
schedule = dict(type='StepSchedule', milestones=[0.75], gamma=0.1)
federation = dict(rounds=24, clients_per_round=2, local_epochs=4, evaluate_every=6, workers=1,
                  strategy=dict(type='FedVSSL', alpha=0.9, beta=0.0))
