"""Networks: where their weights come from, their backbones and the heads on top.

Nothing here reads photographs or fits anything.
"""
