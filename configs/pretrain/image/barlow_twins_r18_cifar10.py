# BarlowTwins, ResNet-18 for 32 pixels, CIFAR-10: by 5 clients in 100 rounds of 5 epochs, or in one place for 1000
# epochs with solo-learn's settings (published there: 92.10 % linear).
#   python tools/train.py configs/pretrain/image/barlow_twins_r18_cifar10.py --cfg-options runtime.device=cuda
#   python tools/fed_train.py configs/pretrain/image/barlow_twins_r18_cifar10.py --cfg-options runtime.device=cuda
# Result: not run.
_base_ = ['../../_base_/data/cifar10.py', '../../_base_/federation/five_clients.py']
model = dict(
    type='BarlowTwins',
    backbone=dict(type='ResNetCIFAR', depth=18),
    neck=dict(type='MLP', num_layers=3, hidden_channels=2048, out_channels=2048),
    redundancy=0.0051,
    scale=0.1,
    data_preprocessor=dict(type='ImagePreprocessor', views='barlow_twins'),
)
training = dict(
    epochs=1000,
    batch_size=256,
    optim_wrapper=dict(type='OptimWrapper',
                       optimizer=dict(type='fedvssl.LARS', lr=0.3, weight_decay=1e-4, trust_coefficient=0.02,
                                      norm_of='separate', clip_lr=True, lr_in_momentum=False)),
    schedule=dict(type='CosineSchedule', warmup=0.01),
)
