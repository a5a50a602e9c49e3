# MoCoV1, ResNet-18 for 32 pixels, CIFAR-10: by 5 clients in 100 rounds of 5 epochs, or in one place for 1000 epochs
# with settings like those of mocov2_r18_cifar10.py; nothing is published.
#   python tools/train.py configs/pretrain/image/mocov1_r18_cifar10.py --cfg-options runtime.device=cuda
#   python tools/fed_train.py configs/pretrain/image/mocov1_r18_cifar10.py --cfg-options runtime.device=cuda
# Result: not run.
_base_ = ['../../_base_/data/cifar10.py', '../../_base_/federation/five_clients.py']
model = dict(
    type='MoCoV1',
    backbone=dict(type='ResNetCIFAR', depth=18),
    neck=dict(type='MLP', num_layers=1, out_channels=128),
    queue_size=4096,
    temperature=0.07,
    ema_decay=0.99,
    data_preprocessor=dict(type='ImagePreprocessor', views='mocov1'),
)
training = dict(
    epochs=1000,
    batch_size=256,
    optim_wrapper=dict(type='OptimWrapper',
                       optimizer=dict(type='SGD', lr=0.03, momentum=0.9, weight_decay=1e-4)),
    schedule=dict(type='CosineSchedule', warmup=0.01),
)
