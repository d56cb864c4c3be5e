"""metaspo inside other people's tools, a module for each: `metaspo.adapters.dspy` and so on. None is imported here."""

__all__: list[str] = []
