"""Who pays: caps on calls, tokens and dollars, and what each account has spent."""
