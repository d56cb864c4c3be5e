"""Servers that benchmarks run against: simulated providers, and fast, limited and mortal ones."""
