"""What a gateway has to do with its store: looking answers up, keeping them, and what processes share by it."""
