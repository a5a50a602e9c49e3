# CtP on R3D-18, as published (40.3 M parameters): last stage without spatial stride, three patches, drifting colours.
model = dict(
    type='CtP',
    backbone=dict(type='R3D18', base_channels=64, spatial_strides=(1, 2, 2, 1)),
    head=dict(type='CtPHead', clip_length=16),
    data_preprocessor=dict(
        type='ClipPreprocessor',
        augments=[
            dict(type='PastePatches'),
            dict(type='BatchHueSaturation', p=0.25, hue=12, saturation=0.1),
            dict(type='DynamicBrightness', p=0.5, delta=30),
            dict(type='DynamicContrast', p=0.5, delta=0.12),
        ],
    ),
)
