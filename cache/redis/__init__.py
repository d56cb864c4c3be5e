"""The store of a Redis or Valkey server, its claims, and what gateways share by it."""
