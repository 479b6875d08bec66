"""What a score is: pure functions of the state, the same for whoever measures, replays or serves it."""
