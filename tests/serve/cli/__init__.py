"""Tests of zpctl."""
