"""How fast a lane may go: rate limits as providers enforce them, and how many calls are in flight at once."""
