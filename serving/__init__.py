"""How the model answers."""
