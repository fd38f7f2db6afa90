"""Probeline: frozen-backbone embeddings, cached once, and everything that can be asked of them."""

__version__ = "0.1.0"
