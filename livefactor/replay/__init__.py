"""`livefactor replay`: a recorded stream evaluated, and the report that draws it."""
