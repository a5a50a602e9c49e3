# The setting of Flower's FedVSSL baseline on UCF-101: 5 silos, all in each of 20 rounds of one epoch; FedVSSL(0.9, 1).
federation = dict(rounds=20, clients_per_round=5, local_epochs=1,
                  strategy=dict(type='FedVSSL', alpha=0.9, beta=1.0))
