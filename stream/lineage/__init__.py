"""Where a state comes from: what it was learnt with, from which base, and the proof that it was."""
