"""Event loops: the one that a program runs on, and one whose clock jumps."""
