"""Pages that need nothing but themselves: a template, its style and its scripts; see `document`."""
