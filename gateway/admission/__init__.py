"""Who may come in, how often, and how many at once: asked before a photograph is looked at."""
