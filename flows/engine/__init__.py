"""The engine: brings a warehouse up to date with a recipe, on the workers of a site."""
