# The published fine-tuning and test pipeline (CtP, FedVSSL): 16 frames, stride 2; 10 test clips at mid-ticks.
data = dict(
    train=dict(
        sampler=dict(type='RandomClipSampler', clip_length=16, stride=2),
        transforms=[
            dict(type='RandomResize', sizes=[(149, 112), (171, 128), (192, 144)]),
            dict(type='Flip', p=0.35),
            dict(type='Brightness', p=0.2, delta=32),
            dict(type='Contrast', p=0.2, delta=0.2),
            dict(type='HueSaturation', p=0.2, hue=12, saturation=0.1),
            dict(type='RandomCrop', size=112),
        ],
    ),
    test=dict(
        sampler=dict(type='MidTickSampler', clip_length=16, stride=2, num_clips=10),
        transforms=[dict(type='Resize', size=(171, 128)), dict(type='CenterCrop', size=112)],
    ),
    batch_size=32,
)
