"""Training on a click: what experts labelled becomes a version that waits, as any upload does, for a second person.

    models      a job, and its way from the click to the version
    queries     which jobs there are, and whether one may begin
    services    one function for each arrow
    work        a job from its first photograph to its version
    programs    `amulet train` and `amulet package` as limited processes that end with whoever started them
    demand      how who trains hears that a job waits
    launch      what such a process does before it becomes `amulet`
    folders     where photographs lie meanwhile, and that none stays

The console trains nothing itself and imports nothing that does.
"""
