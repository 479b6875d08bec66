"""What the model is, in memory and at rest."""
