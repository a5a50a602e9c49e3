"""Re-encodes a video so that it loads cheaply: one file, or many in processes that may die."""
