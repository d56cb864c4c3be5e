"""The optimization."""
