"""What is learnt from photographs: the recipe, the features that a frozen backbone sees, the head.

Everything fitted takes its data as an argument; nothing here reads a folder.
"""
