"""Questions asked of models and recipes: which is better, by how much, and is that more than luck?

An experiment is a function of a frozen request; the command line calls it, and its result is
a document and a page.
"""
