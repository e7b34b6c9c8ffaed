"""The template's tests: what a bake gives, and whether it does what it promises."""
