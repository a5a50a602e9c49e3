# Speed's published sampling and geometry: one clip of 16 frames at one of seven strides; short side 112, 128 or 144,
# random crop 112, flip, one colour change for the whole clip.
data = dict(
    train=dict(
        sampler=dict(type='SpeedSampler', clip_length=16, strides=[-4, -2, -1, 0, 1, 2, 4]),
        transforms=[
            dict(type='RandomResize', sizes=[112, 128, 144]),
            dict(type='Flip', p=0.5),
            dict(type='Brightness', p=0.2, delta=32),
            dict(type='Contrast', p=0.2, delta=0.2),
            dict(type='HueSaturation', p=0.2, hue=12, saturation=0.1),
            dict(type='RandomCrop', size=112),
        ],
    ),
    test=dict(
        sampler=dict(type='SpeedSampler', clip_length=16, strides=[-4, -2, -1, 0, 1, 2, 4]),
        transforms=[dict(type='Resize', size=128), dict(type='CenterCrop', size=112)],
    ),
    batch_size=4,
)
