"""The tasks of the demo: short plain texts written for metaspo."""
