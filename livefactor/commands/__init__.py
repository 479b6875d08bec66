"""One file per family of commands; heavy imports stay inside the commands."""
