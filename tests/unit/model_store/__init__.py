"""The rules of archives, each with archives that keep it and archives that break it."""
