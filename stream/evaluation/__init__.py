"""How good predictions are: each model is asked about an event before any learns from it."""
