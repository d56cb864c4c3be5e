"""The bilevel optimization: the two loops, their rounds, the test splits, the result."""
