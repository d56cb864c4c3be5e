"""Who may call when."""
