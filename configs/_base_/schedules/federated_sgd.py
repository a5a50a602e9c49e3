# The published federated recipe: SGD without momentum, constant over the rounds (VCOP: lr 0.001).
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.0, weight_decay=1e-4),
                     clip_grad=dict(max_norm=40))
schedule = dict(type='ConstantSchedule')
