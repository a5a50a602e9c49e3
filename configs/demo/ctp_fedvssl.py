# Demo: federated CtP pretraining (where do the pasted patches go?) on generated videos, 2 of 4 clients a round.
#   python tools/fed_train.py configs/demo/ctp_fedvssl.py --work-dir work_dirs/demo-ctp
#   python tools/train.py configs/demo/ctp_fedvssl.py --work-dir work_dirs/demo-ctp-central
# Needs data/demo (scripts/generate_videos.py). Result (federated, seed 7, one run, 10 min on two CPU cores): loss 13.58
# on 400 held-out videos, 0.54 of predicting that nothing moves; see pretext.json beside this file.
# Easier than the published task, whose patches hardly show at 32 px on these smooth pictures: two big patches instead
# of three of all sizes, shown in every frame, that move fast and straight, in slow videos.
_base_ = ['../_base_/models/tiny_r3d18.py', '../_base_/data/demo.py']
model = dict(
    type='CtP',
    backbone=dict(spatial_strides=(1, 2, 2, 1)),
    head=dict(type='CtPHead', clip_length=8, init_std=0.02),
    data_preprocessor=dict(augments=[
        dict(type='PastePatches', num_patches=2, scales=(40, 56), visibility=1.0, velocity=8.0, key_probabilities=(1,)),
        dict(type='BatchHueSaturation', p=0.25, hue=12, saturation=0.1),
        dict(type='DynamicBrightness', p=0.5, delta=30),
        dict(type='DynamicContrast', p=0.5, delta=0.12),
    ]),
)
data = dict(
    train=dict(sampler=dict(type='RandomClipSampler', clip_length=8, stride=1)),
    test=dict(sampler=dict(type='RandomClipSampler', clip_length=8, stride=1)),
    partition=dict(type='IIDPartitioner', num_clients=4),
    batch_size=8,
    test_batch_size=20,
)
# Not the published optimiser: SGD does not leave the plateau within minutes, and AdamW only from a low learning rate.
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.001, weight_decay=0.01),
                     clip_grad=dict(max_norm=40))
schedule = dict(type='CosineSchedule', warmup=0.3)
federation = dict(rounds=24, clients_per_round=2, local_epochs=24, evaluate_every=6, workers=2,
                  strategy=dict(type='FedVSSL', alpha=0.9, beta=0.0))
training = dict(epochs=120, evaluate_every=20)
