"""`livefactor demo`: the service on a stream of real ratings, with one process killed on the way."""
