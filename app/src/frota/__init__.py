"""frota: five classic distributed systems that run as one fleet of Linux hosts."""
