# The published cross-device setting (100 clients): 5 a round, one local epoch, 540 rounds; FedVSSL(0.9, 0).
federation = dict(rounds=540, clients_per_round=5, local_epochs=1,
                  strategy=dict(type='FedVSSL', alpha=0.9, beta=0.0))
