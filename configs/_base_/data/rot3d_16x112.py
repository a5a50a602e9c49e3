# Rot3D's sampling and geometry in CtP's code: one clip of 16 frames, stride 1 to 5 with jitter; 149x112, 171x128 or
# 192x144, flip, one colour change for the whole clip, random crop 112. The rotation follows on the device.
data = dict(
    train=dict(
        sampler=dict(type='RandomClipSampler', clip_length=16, stride=[1, 2, 3, 4, 5], jitter=True),
        transforms=[
            dict(type='RandomResize', sizes=[(149, 112), (171, 128), (192, 144)]),
            dict(type='Flip', p=0.5),
            dict(type='Brightness', p=0.2, delta=32),
            dict(type='Contrast', p=0.2, delta=0.2),
            dict(type='HueSaturation', p=0.2, hue=12, saturation=0.1),
            dict(type='RandomCrop', size=112),
        ],
    ),
    test=dict(
        sampler=dict(type='RandomClipSampler', clip_length=16, stride=[1, 2, 3, 4, 5], jitter=True),
        transforms=[dict(type='Resize', size=(171, 128)), dict(type='CenterCrop', size=112)],
    ),
    batch_size=4,
)
