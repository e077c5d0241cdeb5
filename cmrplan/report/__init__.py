"""Fits and plans as text and pages for people."""
