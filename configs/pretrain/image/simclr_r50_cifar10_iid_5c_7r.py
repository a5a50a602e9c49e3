# Flower's SimCLR example: 5 IID clients, 7 rounds of one local epoch, ResNet-50, Adam 3e-4, batches of 512, projector
# 2048-4096-2048, no blur and no normalisation; then 20 epochs on 10 % of the labels with the encoder frozen:
#   python tools/fed_train.py configs/pretrain/image/simclr_r50_cifar10_iid_5c_7r.py --work-dir work_dirs/example
#   python tools/finetune.py configs/downstream/linear_r50_cifar10_10percent.py --pretrained work_dirs/example
# This is not what produced the 76.8 % that the example's README names: as far as its history tells, that run began with
# ImageNet weights, trained the whole encoder, and tested on images it had pretrained on. Ours has the stem for 32
# pixels. Result: not run.
_base_ = ['../../_base_/data/cifar10.py']
model = dict(
    type='SimCLR',
    backbone=dict(type='ResNetCIFAR', depth=50),
    neck=dict(type='MLP', hidden_channels=4096, out_channels=2048),
    temperature=0.5,
    data_preprocessor=dict(
        type='ImagePreprocessor', mean=[0.0, 0.0, 0.0], std=[1.0, 1.0, 1.0],
        views=[[dict(type='ResizedCrop', size=32),
                dict(type='ColorJitter', brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, p=0.8),
                dict(type='Grayscale', p=0.2)]] * 2),
)
data = dict(batch_size=512)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=3e-4))
schedule = dict(type='ConstantSchedule')
federation = dict(rounds=7, clients_per_round=5, local_epochs=1, strategy=dict(type='FedAvg'))
