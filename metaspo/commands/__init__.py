"""What can be given to each command; what it does then is in the module of `actions/` of the same name."""
