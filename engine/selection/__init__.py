"""Who is kept: the objective, dropping candidates that cannot win, races, the luck of the best."""
