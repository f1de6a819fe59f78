"""Review sheets: heat maps and synthetic photographs that training wrote for experts to judge.

    models      sheets, their items, and what each person said of each
    services    import, answer, take back, export, remove
    queries     what a person may see of a sheet, and what the answers say together

Each person answers alone: until all is answered, nobody who answers sees what others said, and never what was real.
"""
