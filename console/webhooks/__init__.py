"""Other systems and people hear of what happened: a signed POST or an e-mail, tried until it arrives.

What can be heard of is what the audit log tells: it is written in the transaction of each act, in one
order and without gaps, so that nothing is announced that did not happen and nothing that did is missed.
"""
