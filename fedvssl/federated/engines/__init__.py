"""Engines: how messages reach the clients. All of them run the same apps."""
