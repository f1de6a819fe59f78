"""Privacy: what people ask about their data, by when the law wants it answered, and erasure that proves itself.

    clocks        the limits of GDPR and PDPA as pure functions on dates
    services      a request's life, one function for each arrow of `models`
    stores        every place that holds something about a person, and how it is emptied
    inventory     of every field of every table what it holds of a person, why, and how long
    erasure       store after store, resumable at any point, done only when a second search finds nothing
    certificate   what was erased, without it, and vouched for by an audit checkpoint
    printed, paper   the same in words, and as a PDF
    access        what a person is told about themselves, as a ZIP that people and machines read
    ledger        who was erased, outside the database: applied again after a restore
    late          whose events may still come late, beside it

It stands above every app that holds personal data, and never keeps a pseudonym in the clear.
"""
