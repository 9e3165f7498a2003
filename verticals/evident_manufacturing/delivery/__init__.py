"""How results reach a MES: events, a durable outbox, and one sink for each protocol.

An event is put in the outbox first and sent after, until its destination confirms it; its id comes from the part's id,
so that what arrives twice is known to be the same.
"""
