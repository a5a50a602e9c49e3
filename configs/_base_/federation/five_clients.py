# The usual federated setting on CIFAR (EasyFL, FedEMA): 5 clients, all in each of 100 rounds of 5 local epochs; SGD
# with momentum, rate 0.032, a cosine, batches of 128.
federation = dict(rounds=100, clients_per_round=5, local_epochs=5, strategy=dict(type='FedAvg'))
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.032, momentum=0.9, weight_decay=5e-4))
schedule = dict(type='CosineSchedule')
