# BYOL, ResNet-18 for 32 pixels, CIFAR-10: by 5 clients in 100 rounds of 5 epochs, or in one place for 1000 epochs
# with solo-learn's settings (published there: 92.58 % linear).
#   python tools/train.py configs/pretrain/image/byol_r18_cifar10.py --cfg-options runtime.device=cuda
#   python tools/fed_train.py configs/pretrain/image/byol_r18_cifar10.py --cfg-options runtime.device=cuda
# Result: not run.
_base_ = ['../../_base_/data/cifar10.py', '../../_base_/federation/five_clients.py']
model = dict(
    type='BYOL',
    backbone=dict(type='ResNetCIFAR', depth=18),
    neck=dict(type='MLP', hidden_channels=4096, out_channels=256),
    predictor=dict(type='MLP', hidden_channels=4096),
    ema_decay=0.99,
    data_preprocessor=dict(type='ImagePreprocessor', views='byol'),
)
training = dict(
    epochs=1000,
    batch_size=256,
    optim_wrapper=dict(type='OptimWrapper',
                       optimizer=dict(type='fedvssl.LARS', lr=1.0, weight_decay=1e-5, trust_coefficient=0.02,
                                      norm_of='separate', clip_lr=True, lr_in_momentum=False)),
    schedule=dict(type='CosineSchedule', warmup=0.01),
)
