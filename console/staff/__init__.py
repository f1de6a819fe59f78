"""Who works at the console: people, their roles, their second factor, their tokens for scripts."""
