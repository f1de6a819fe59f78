"""What is kept only for a time, that it goes when its time is over, and the report that says so.

    rules       what is kept for how long, and what deletes it
    record      of every field of every table what it holds, why, and how long
    models      what became of each rule when it was last applied
    services    applying the rules that are due

It stands above every app of which it deletes something; how a thing is deleted is that app's own.
"""
