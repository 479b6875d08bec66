"""A drill: a fault planted in a recorded stream, and what the learner makes of it."""
