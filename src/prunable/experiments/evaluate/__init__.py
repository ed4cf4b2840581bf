"""How well a network does its work."""
