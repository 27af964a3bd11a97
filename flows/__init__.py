"""What we do: recipes, sites, the engine that runs them, and the commands."""
