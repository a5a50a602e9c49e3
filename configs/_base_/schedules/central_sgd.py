# The published centralised recipe, for tools/train.py: 8 x 4 videos a batch, 90 epochs on Kinetics-400 (UCF-101: 300),
# SGD with momentum, lr 0.01 (VCOP: 0.001) divided by 10 after a third and two thirds.
training = dict(
    epochs=90,
    batch_size=32,
    optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4),
                       clip_grad=dict(max_norm=40)),
    schedule=dict(type='StepSchedule', milestones=[1 / 3, 2 / 3], gamma=0.1),
)
