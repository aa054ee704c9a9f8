"""AMQP 0-9-1: sessions, consumers, publishers and topology, for producer, worker and operators."""
