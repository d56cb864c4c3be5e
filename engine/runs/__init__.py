"""A run as a user knows it: prepared, executed in a directory of its own, summed up."""
