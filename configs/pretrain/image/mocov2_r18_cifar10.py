# MoCoV2, ResNet-18 for 32 pixels, CIFAR-10: by 5 clients in 100 rounds of 5 epochs, or in one place for 1000 epochs
# with solo-learn's settings (published there: 92.94 % linear).
#   python tools/train.py configs/pretrain/image/mocov2_r18_cifar10.py --cfg-options runtime.device=cuda
#   python tools/fed_train.py configs/pretrain/image/mocov2_r18_cifar10.py --cfg-options runtime.device=cuda
# Published for MoCo v2+, whose loss is symmetric; ours is not.
# Result: not run.
_base_ = ['../../_base_/data/cifar10.py', '../../_base_/federation/five_clients.py']
model = dict(
    type='MoCoV2',
    backbone=dict(type='ResNetCIFAR', depth=18),
    neck=dict(type='MLP', out_channels=128, norm=False),
    queue_size=32768,
    temperature=0.2,
    ema_decay=0.99,
    data_preprocessor=dict(type='ImagePreprocessor', views='mocov2'),
)
training = dict(
    epochs=1000,
    batch_size=256,
    optim_wrapper=dict(type='OptimWrapper',
                       optimizer=dict(type='SGD', lr=0.3, momentum=0.9, weight_decay=1e-4)),
    schedule=dict(type='CosineSchedule', warmup=0.01),
)
