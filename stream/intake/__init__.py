"""From the bytes of a record to columns of interactions, or to words that say why not."""
