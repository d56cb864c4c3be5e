"""Worlds in which it is known what a prompt is worth, and what each method finds in them."""
