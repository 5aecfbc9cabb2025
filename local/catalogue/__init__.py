"""The model catalogue beside public price lists, and overlays of it."""
