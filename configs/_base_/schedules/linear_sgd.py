# The published linear probe: 100 epochs, lr 0.01 divided by 10 at epochs 60 and 80, tested every 10 epochs.
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-3),
                     clip_grad=dict(max_norm=40))
schedule = dict(type='StepSchedule', milestones=[60 / 100, 80 / 100], gamma=0.1)
training = dict(epochs=100, evaluate_every=10)
