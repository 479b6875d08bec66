"""Livefactor's front door: commands, client and demo; it may import everything, nothing imports it."""
