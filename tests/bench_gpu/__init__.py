"""What a GPU gives: its ceilings, and how near to them extraction, heads and training come."""
