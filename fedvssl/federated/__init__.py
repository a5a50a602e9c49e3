"""Federated training: aggregation, strategies, client, server, engines."""
