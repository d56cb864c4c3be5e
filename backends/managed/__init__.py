"""Servers that we start ourselves: the embedded model and vLLM, their files, processes and last words."""
