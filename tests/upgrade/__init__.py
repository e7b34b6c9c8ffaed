"""Upgrades: of projects from a small template that each test changes, and of real bakes."""
