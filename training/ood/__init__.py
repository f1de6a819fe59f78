"""How far a photograph is from everything learnt: detectors, and where their scores draw a line.

Every detector's score rises the further out a photograph is. One file per detector.
"""
