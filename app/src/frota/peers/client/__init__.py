"""The commands for people: `frota peers submit | status | dead | history`."""
