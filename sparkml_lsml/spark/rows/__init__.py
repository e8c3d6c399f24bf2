"""How rows get into resident blocks, and what runs over them."""
