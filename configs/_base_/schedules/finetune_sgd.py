# The published fine-tuning: 150 epochs, lr 0.01 divided by 10 at epochs 60 and 120, tested every 10 epochs.
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=5e-4),
                     clip_grad=dict(max_norm=40))
schedule = dict(type='StepSchedule', milestones=[60 / 150, 120 / 150], gamma=0.1)
training = dict(epochs=150, evaluate_every=10)
