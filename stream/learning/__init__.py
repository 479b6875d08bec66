"""How an interaction moves factors, lists of neighbours, counts and the weights of the ranking score."""
