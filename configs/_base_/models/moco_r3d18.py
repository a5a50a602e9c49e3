# Video MoCo on R3D-18, as in CtP's code: queue of 65,536 keys, momentum 0.999, temperature 0.2.
model = dict(
    type='MoCo',
    backbone=dict(type='R3D18', base_channels=64),
    head=dict(type='MoCoHead', out_channels=128),
    data_preprocessor=dict(type='ClipPreprocessor'),
    queue_size=65536,
    momentum=0.999,
    temperature=0.2,
)
