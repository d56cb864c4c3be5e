"""Strategies: who proposes prompts."""
