# The generated set (scripts/generate_videos.py) at 8 frames of 32x32. 64x56 videos are resized to 38x34: in proportion,
# the crop keeps more of the picture than the published one does.
data = dict(
    root='data/demo',
    train=dict(split='train', transforms=[dict(type='Resize', size=(38, 34)), dict(type='RandomCrop', size=32)]),
    test=dict(split='test', transforms=[dict(type='Resize', size=(38, 34)), dict(type='CenterCrop', size=32)]),
)
