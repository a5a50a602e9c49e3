"""Reading what strangers have pickled without running any of it."""
