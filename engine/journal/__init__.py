"""What a run writes down, and what is read from it. Imports nothing else of the engine."""
