"""metaspo optimizes system prompts."""
