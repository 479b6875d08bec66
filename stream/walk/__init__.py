"""The walk over the events of a micro-batch: each is judged by what went before, then learnt."""
