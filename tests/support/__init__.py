"""What the tests share: bakes, tools, load, and programs that stand around a project."""
