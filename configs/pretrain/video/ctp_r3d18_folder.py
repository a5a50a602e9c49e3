# Federated CtP on any folder of videos with a CSV: narrow R3D-18 (1.2 M parameters), 8 frames of 56x56, on a CPU.
#
# Here on asl24, real clips of 24 hand signs by two people: 4 IID clients share the 473 clips of one of them; the 368
# clips of the other are held out.
#   python tools/fed_train.py configs/pretrain/video/ctp_r3d18_folder.py --work-dir work_dirs/asl24-ctp --cfg-options \
#       data.root=$FEDVSSL_DATA/video/asl24/clips data.annotations=../clips.csv
# Expected time: 5 min on two cores. Result: not run; configs/compare/asl24.py does, against its points of reference.
# Easier than the published task, as the demo's: two big patches, shown in every frame, that move fast and straight.
_base_ = ['vcop_r3d18_folder.py']
model = dict(
    _delete_=True,
    type='CtP',
    backbone=dict(type='R3D18', base_channels=12, spatial_strides=(1, 2, 2, 1)),
    head=dict(type='CtPHead', clip_length=8, init_std=0.02),
    data_preprocessor=dict(type='ClipPreprocessor', augments=[
        dict(type='PastePatches', num_patches=2, scales=(40, 56), visibility=1.0, velocity=8.0, key_probabilities=(1,)),
        dict(type='BatchHueSaturation', p=0.25, hue=12, saturation=0.1),
        dict(type='DynamicBrightness', p=0.5, delta=30),
        dict(type='DynamicContrast', p=0.5, delta=0.12),
    ]),
)
data = dict(
    train=dict(sampler=dict(_delete_=True, type='RandomClipSampler', clip_length=8, stride=1)),
    test=dict(sampler=dict(_delete_=True, type='RandomClipSampler', clip_length=8, stride=1)),
    batch_size=8,
)
# AdamW leaves the plateau only from a low learning rate.
schedule = dict(_delete_=True, type='CosineSchedule', warmup=0.3)
federation = dict(rounds=10, evaluate_every=5)
training = dict(epochs=40)
