"""Scoring one pair of prompts on one split of a task."""
