"""The durable event journal: what makes "acknowledged" true.

An event is appended and on disk before its prediction's answer leaves; the shipper takes
it to the console afterwards, at least once. Only bytes travel through here: the journal
never looks into a record, and it never waits for the console.
"""
