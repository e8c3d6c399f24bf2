"""How results look: as text, as HTML in a notebook, as plots; from plain numbers only."""
