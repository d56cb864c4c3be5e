"""Talking to a server over HTTP: addresses, connections, bodies, and what their errors mean."""
