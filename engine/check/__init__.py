"""A config held against its servers and its data before a run: a call or two for each."""
