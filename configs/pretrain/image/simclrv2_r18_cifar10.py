# SimCLRv2, ResNet-18 for 32 pixels, CIFAR-10: by 5 clients in 100 rounds of 5 epochs, or in one place for 1000 epochs
# with settings like those of simclr_r18_cifar10.py; nothing is published.
#   python tools/train.py configs/pretrain/image/simclrv2_r18_cifar10.py --cfg-options runtime.device=cuda
#   python tools/fed_train.py configs/pretrain/image/simclrv2_r18_cifar10.py --cfg-options runtime.device=cuda
# Result: not run.
_base_ = ['../../_base_/data/cifar10.py', '../../_base_/federation/five_clients.py']
model = dict(
    type='SimCLRv2',
    backbone=dict(type='ResNetCIFAR', depth=18),
    neck=dict(type='MLP', num_layers=3, out_channels=128, last_norm='affine'),
    temperature=0.5,
    data_preprocessor=dict(type='ImagePreprocessor', views='simclrv2'),
)
training = dict(
    epochs=1000,
    batch_size=256,
    optim_wrapper=dict(type='OptimWrapper',
                       optimizer=dict(type='fedvssl.LARS', lr=0.4, weight_decay=1e-4, trust_coefficient=0.02,
                                      norm_of='separate', clip_lr=True, lr_in_momentum=False)),
    schedule=dict(type='CosineSchedule', warmup=0.01),
)
