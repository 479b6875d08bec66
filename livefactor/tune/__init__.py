"""`livefactor tune`: settings searched on the first part of a recording and judged on the rest."""
