"""Networks: where their weights come from, their backbones with the graphs of those, and the heads on top.

Nothing here reads photographs or fits anything.
"""
