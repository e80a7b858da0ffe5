"""Scripts for other Python environments: each runs alone, with numpy and the packages it is there for."""
