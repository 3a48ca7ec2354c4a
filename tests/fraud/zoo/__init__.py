"""Fake services: each answers well but for one lie. They share no code with what they imitate."""
