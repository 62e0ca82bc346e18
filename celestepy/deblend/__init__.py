"""Deblending: every source of a patch of sky, apart from its neighbours."""
