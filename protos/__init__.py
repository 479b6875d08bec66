"""How others speak to Livefactor: the wire's definitions and the code generated from them."""
