# Video MoCo's sampling and geometry in CtP's code: two clips of 16 frames, each with its own stride 1 to 4, jitter,
# size, flip, colour change and crop.
data = dict(
    train=dict(
        split='train',
        sampler=dict(type='RandomClipSampler', clip_length=16, stride=[1, 2, 3, 4], jitter=True, num_clips=2),
        transforms=[
            dict(type='RandomResize', sizes=[(149, 112), (171, 128), (192, 144)]),
            dict(type='Flip', p=0.5),
            dict(type='Brightness', p=0.2, delta=32),
            dict(type='Contrast', p=0.2, delta=0.2),
            dict(type='HueSaturation', p=0.2, hue=12, saturation=0.1),
            dict(type='RandomCrop', size=112),
        ],
        independent_clips=True,
    ),
    test=dict(
        split='test',
        sampler=dict(type='RandomClipSampler', clip_length=16, stride=[1, 2, 3, 4], jitter=True, num_clips=2),
        transforms=[dict(type='Resize', size=(171, 128)), dict(type='CenterCrop', size=112)],
    ),
    batch_size=4,
)
